"use strict";
// One benchmark: minutes against chips with ideal scaling and the Pareto front, and the single runs behind each result.
(function (L) {
  const MOST_KINDS = 7, MOST_STRIPS = 40;

  // name and choices of an address: benchmark, rounds, division
  L.chosen = (address, names) => {
    const name = names.includes(address.part) ? address.part : names[0];
    const rounds = L.roundsOf(name), wanted = (address.values.get("round") || []).filter((one) => rounds.includes(one));
    return {name, rounds, wanted: wanted.length ? wanted : rounds.slice(-1), division: (address.values.get("division") || ["closed"])[0]};
  };

  function build(root, address) {
    const {name, rounds, wanted, division} = L.chosen(address, L.data.names);
    const go = (patch) => L.go(L.address("benchmark", patch.name ?? name, patch.name ? {} : {round: patch.wanted ?? wanted, division: patch.division ?? division}));
    const rows = L.data.rows.filter((row) => row.benchmark === name && wanted.includes(row.round) && (division === "all" || row.division === division));
    const scored = rows.filter((row) => row.minutes !== null && row.chips);
    const strips = L.h("div", null, L.h("p", {class: "wait"}, "Loading single runs."));
    const asked = wanted.map((round) => [round, L.asked(round, name)]).filter(([, one]) => one);
    L.put(root, L.h("h1", null, L.titled(name)),
      L.h("div", {class: "choices"}, L.select("Benchmark", L.data.names.map((one) => [one, L.titled(one)]), name, (value) => go({name: value}), {id: "benchmark"}),
        L.h("span", {class: "field"}, "Rounds"), rounds.map((one) => L.check(one, wanted.includes(one), (on) => go({wanted: on ? [...wanted, one] : wanted.filter((other) => other !== one)}))),
        L.select("Division", [["closed", "closed"], ["open", "open"], ["all", "all"]], division, (value) => go({division: value}))),
      asked.map(([round, one]) => L.h("p", {class: "soft"}, `${round}: ${one.model}, ${one.dataset}; ${L.askedText(one)}.`)),
      L.mixed(asked.map(([, one]) => one.comparable_since)),
      scored.length ? [L.chart(scatter(name, scored)), L.h("p", null, L.h("a", {href: L.resultsAddress({facets: {benchmark: [name], round: wanted}})}, `The ${L.plural(rows.length, "result")} as a table`)), strips]
        : L.h("p", {class: "none"}, "No scored result is like this."));
    if (scored.length) L.load("runs", L.data.files[name]).then((runs) => L.put(strips, strip(scored, runs)), () => L.put(strips, L.h("p", null, "The single runs cannot be read.")));
  }

  L.mixed = (versions) => new Set(versions).size > 1 ? L.h("p", {class: "bad"}, "These rounds differ in target, model or clock: their minutes are not comparable.") : null;

  L.kinds = (rows, of) => {
    const totals = new Map();
    for (const row of rows) totals.set(of(row), (totals.get(of(row)) || 0) + 1);
    const first = [...totals].sort((a, b) => b[1] - a[1] || String(a[0]).localeCompare(String(b[0]))).slice(0, MOST_KINDS).map(([kind]) => kind);
    const groups = first.map((kind, at) => ({kind, at, rows: rows.filter((row) => of(row) === kind)}));
    const rest = rows.filter((row) => !first.includes(of(row)));
    return rest.length ? [...groups, {kind: "others", at: MOST_KINDS, rows: rest}] : groups;
  };
  const point = (row) => ({x: row.chips, y: row.minutes, href: L.address("entry", row.id), label: [L.named(row), `${row.round}, ${row.division}`, L.chipsOf(row)]});

  function scatter(name, rows) {
    const best = rows.reduce((a, b) => a.chip_minutes <= b.chip_minutes ? a : b);
    const chips = rows.map((row) => row.chips), low = Math.min(...chips), high = Math.max(...chips);
    const ideal = [low, high].map((count) => ({x: count, y: best.chip_minutes / count}));
    const front = pareto(rows);
    return {title: `${name}: minutes against chips`, legend: true,
      text: `Down and to the left is better. Ideal: the least chip-minutes (${L.named(best)}) at every scale. Front: nobody was faster with as few chips.`,
      x: {label: "chips", log: true, ticks: powers(low, high), format: (value) => L.number(value, 6)}, y: {label: "minutes", log: true},
      series: [...L.kinds(rows, (row) => row.accelerator || "no accelerator").map((group) => ({name: group.kind, at: group.at, points: group.rows.map(point)})),
        {name: "Pareto front", at: 6, line: true, bare: true, deaf: true, points: steps(front), silent: false},
        {name: "ideal scaling", at: 4, line: true, bare: true, deaf: true, dashed: true, points: ideal}]};
  }
  function powers(low, high) {
    const found = [];
    for (let value = 1; value <= 2 * high; value *= 2) if (value >= low / 2) found.push(value);
    return found;
  }

  // Results that nobody beat with as few chips, by chips.
  function pareto(rows) {
    let least = Infinity;
    return [...rows].sort((a, b) => a.chips - b.chips || a.minutes - b.minutes).filter((row) => row.minutes < least && ((least = row.minutes), true));
  }
  const steps = (front) => front.flatMap((row, at) => at ? [{x: row.chips, y: front[at - 1].minutes}, {x: row.chips, y: row.minutes}] : [{x: row.chips, y: row.minutes}]);
  L.pareto = pareto;

  function strip(rows, runs) {
    const shown = [...rows].sort((a, b) => a.minutes - b.minutes).slice(0, MOST_STRIPS).filter((row) => runs[row.id]);
    const place = new Map(shown.map((row, at) => [at, row]));
    const dots = (test, extra) => shown.flatMap((row, at) => runs[row.id].filter(([minutes, counts, status]) => minutes !== null && test(counts, status))
      .map(([minutes, counts, status]) => ({x: minutes, y: at, href: L.address("entry", row.id), label: [L.named(row), row.round, `${L.chipsOf(row)}`, counts === "kept" ? "counts" : `${status}, ${counts || "no score"}`], size: 3.6, ...extra})));
    const means = shown.map((row, at) => ({x: row.measured_minutes, y: at, href: L.address("entry", row.id), label: [L.named(row), row.round, L.chipsOf(row)], size: 6}));
    const failed = (counts, status) => status !== "converged";
    const name = (at) => { const row = place.get(at); return row ? `${row.submitter.slice(0, 16)} ${row.chips}` : ""; };
    return L.chart({title: `Single runs of the ${L.plural(shown.length, "fastest result")}`, text: "A line each, the fastest on top: submitter and chips. Times as measured, before any factor.", height: 60 + shown.length * 17,
      x: {label: "minutes", log: true}, y: {label: "", low: shown.length - 0.4, high: -0.6, ticks: shown.map((_, at) => at), format: name, names: true},
      series: [{name: "mean of those that count", at: 1, shape: 3, points: means},
        {name: "counts", at: 0, shape: 0, points: dots((counts, status) => counts === "kept" && !failed(counts, status))},
        {name: "left out or unused", at: 6, shape: 0, hollow: true, points: dots((counts, status) => counts !== "kept" && !failed(counts, status), {hollow: true})},
        {name: "not converged or unfinished", at: 5, shape: 5, points: dots(failed, {cross: true})}]});
  }

  L.views.benchmark = {title: "Benchmarks", build};
})(window.Laptime = window.Laptime || {});
