"use strict";
// How to read these pages: what a number is, what it is not, and the keys.
(function (L) {
  const TERMS = [
    ["Unverified", "Every number was computed by this program from logs. None was verified by MLCommons Association; the official numbers are on its site. Where published minutes were given at ingest, a result shows them beside its own."],
    ["Minutes", "Time from the first touch of the data to the evaluation that meets the target, mean over the runs that count. The fastest and the slowest run are left out (more of both where a benchmark asks for many runs). In rounds that normalise, a set of runs that needed less than the reference beyond chance is multiplied by a factor."],
    ["Chips", "Accelerators of the whole system; processors where it has no accelerators."],
    ["Chip-minutes, speed-up, efficiency", "Derived here by multiplication and division. They are not official metrics, and they say nothing of price or power."],
    ["Not comparable", "Results are set beside each other only where benchmark, target, model and the start of the clock are the same (column “comparable since”) and the division is. Other differences, of round, scale or availability, are named but allowed."],
    ["Closed and open", "Closed: the same model and the same hyperparameters within limits. Open: anything that meets the target; an open result does not rank beside a closed one."],
    ["Spread and intervals", "Spread: slowest minus fastest run over the mean. Intervals: 95 % of the mean of so few runs, Student's t with winsorised variance on the runs that count. A result repeated on another day moves by more than that: about 2.5 % for vision, 5 % for others, by what is known of published times."],
    ["Reference convergence points", "What the reference implementation needed at several batch sizes. A set of runs that needs significantly less has had luck, or has another model; it is slowed down by a factor or refused."],
    ["Findings", "What the judge of this program holds against the logs. It is stricter than the review in some places: a finding against a published result is not a verdict of MLCommons Association."],
    ["Who is missing", "Submitters choose benchmarks, systems and scales. An empty cell of the coverage says nothing of how fast something would be."],
  ];
  const KEYS = [["/", "search"], ["↑ ↓", "walk the rows, or the points of a chart with ← →"], ["Enter", "open the result"], ["Space", "show the runs of a row"], ["p", "pin the row"], ["c", "compare what is pinned"], ["e", "save the rows as CSV"], ["Shift + click", "add a column to the order"], ["?", "this page"]];
  const SEARCH = [["cloud h100", "both words, anywhere"], ["\"one node\"", "as written"], ["-preview", "not this word"], ["submitter:acme", "in one column"], ["chips<=64", "a number; also <, >, >=, ="]];

  function build(root) {
    L.put(root, L.h("h1", null, "How to read this"), L.h("dl", {class: "help"}, TERMS.map(([word, text]) => [L.h("dt", null, word), L.h("dd", null, text)])),
      L.h("h2", null, "Keys"), L.h("dl", {class: "facts"}, KEYS.map(([key, text]) => [L.h("dt", null, L.h("kbd", null, key)), L.h("dd", null, text)])),
      L.h("h2", null, "Search"), L.h("dl", {class: "facts"}, SEARCH.map(([text, words]) => [L.h("dt", null, L.h("kbd", null, text)), L.h("dd", null, words)])),
      L.h("h2", null, "Links"), L.h("p", null, "The address holds everything: filters, order, columns, open rows, pins. Copy it to share a view of the same site."),
      L.h("h2", null, "Targets"), L.table("What each round asks", [["Benchmark"], ["Round"], ["Target"], ["Comparable since"], ["Runs", true], ["Left out at each end", true], ["Data"], ["Model"]],
        [...L.data.benchmarks.values()].map((one) => [one.name, one.round, one.target, one.comparable_since, one.runs, one.dropped, one.dataset, one.model])));
  }

  L.views.help = {title: "How to read this", build};
})(window.Laptime = window.Laptime || {});
