"use strict";
// Parts that show one result: its runs as a table and as a strip, where the time went, and its system description.
(function (L) {
  const COUNTS = {kept: "counts", fastest: "left out (fastest)", slowest: "left out (slowest)", unused: "not used"};
  const TIMES = [["init_minutes", "initialisation, before the clock", 6], ["training_minutes", "training", 0],
    ["evaluation_minutes", "evaluation", 1], ["rest_minutes", "rest", 4]];

  L.seeds = (runs) => {
    const seen = new Map();
    for (const run of runs) if (run.seed !== null) seen.set(run.seed, (seen.get(run.seed) || 0) + 1);
    return seen;
  };

  L.runsTable = (row, more) => {
    const seeds = L.seeds(more.runs);
    return L.table("Runs, unverified", [["Run"], ["Status"], ["To the score"], ["Minutes", true], [`Needed (${row.unit || "units"})`, true], ["Evaluations", true], ["Seed"], ["Log"]],
      more.runs.map((run) => [run.number, run.status === "converged" ? "converged" : L.h("span", {class: "bad"}, run.status), COUNTS[run.counts] || "–",
        L.minutes(run.minutes), L.number(run.convergence), run.evaluations,
        [run.seed ?? "–", seeds.get(run.seed) > 1 ? L.h("span", {class: "bad"}, " (not alone)") : null], run.file]), {class: "single"});
  };

  // Bars of the logged intervals, one line per run: before the clock and on it, each side with a scale of its own.
  L.timesFigure = (more) => {
    const runs = more.runs.filter((run) => run.training_minutes !== null);
    if (!runs.length) return null;
    const sides = [["Before the clock", TIMES.slice(0, 1)], ["On the clock", TIMES.slice(1)]];
    return L.h("figure", {class: "chart"}, L.h("figcaption", null, L.h("strong", null, "Where the time went"),
      L.h("span", null, "A bar per run. ", TIMES.map(([, words, colour]) => [L.h("i", {class: `key ${L.colour(colour)}`}), words]))),
    L.h("div", {class: "times"}, sides.map(([words, parts]) => side(runs, words, parts))),
    L.h("details", {class: "numbers"}, L.h("summary", null, "These bars as a table"), L.table("Minutes", [["Run"], ...TIMES.map(([, words]) => [words, true])],
      runs.map((run) => [run.number, ...TIMES.map(([name]) => L.minutes(run[name]))]))));
  };

  function side(runs, words, parts) {
    const whole = (run) => parts.reduce((sum, [name]) => sum + (run[name] || 0), 0);
    const longest = Math.max(...runs.map(whole)), height = runs.length > 20 ? 10 : 18;
    const bars = runs.map((run, at) => {
      let start = 0;
      return parts.map(([name, what, colour]) => {
        const width = longest ? 100 * (run[name] || 0) / longest : 0, left = start;
        start += width;
        return width > 0 ? L.s("rect", {x: `${left}%`, y: at * height, width: `${width}%`, height: height - 4, class: L.colour(colour), fill: "currentColor"},
          L.s("title", null, `Run ${run.number}, ${what}: ${L.minutes(run[name])} minutes`)) : null;
      });
    });
    return L.h("div", null, L.h("p", {class: "soft"}, `${words}: at most ${L.minutes(longest)} minutes`),
      L.s("svg", {width: "100%", height: runs.length * height, role: "img", "aria-label": `${words}; the table below has the numbers`}, bars));
  }

  L.systemFacts = (fields) => L.h("dl", {class: "facts"}, Object.entries(fields).filter(([, value]) => value !== "" && value !== null)
    .map(([name, value]) => [L.h("dt", null, name.replace(/_/g, " ")), L.h("dd", null, typeof value === "object" ? JSON.stringify(value, null, 1) : value)]));

  // What opens below a row of the table.
  L.detail = (row, more) => [
    L.h("p", null, L.h("a", {href: L.address("entry", row.id)}, "Curves, hyperparameters and findings"), ` · judged as ${more.level === "official" ? "the official checker does" : "the text of the rules asks"}`),
    L.runsTable(row, more),
    L.h("h3", null, "System description"), L.systemFacts(more.system),
  ];

  // The rule for what a benchmark asks, as a sentence.
  L.askedText = (asked) => asked ? `${asked.target}; ${L.plural(asked.runs, "run")}, ${asked.dropped ? `the fastest${asked.dropped > 1 ? ` ${asked.dropped}` : ""} and the slowest${asked.dropped > 1 ? ` ${asked.dropped}` : ""} left out` : "all count"}` : "";

  L.sourceOf = (row) => row.official && row.file ? `https://github.com/mlcommons/training_results_${encodeURIComponent(row.round)}/tree/HEAD/${row.file.split("/").map(encodeURIComponent).join("/")}` : null;
})(window.Laptime = window.Laptime || {});
