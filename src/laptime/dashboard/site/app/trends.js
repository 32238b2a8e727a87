"use strict";
// How the best times changed from round to round, at fixed numbers of chips and at any; lines break where results are not
// comparable because target, model or clock changed.
(function (L) {
  const SCALES = [8, 16, 64, 512];
  const MEASURES = [["minutes", "minutes"], ["chip_minutes", "chip-minutes"]];

  function build(root, address) {
    const values = address.values, division = (values.get("division") || ["closed"])[0], only = address.part;
    const measure = MEASURES.some(([key]) => key === (values.get("measure") || [])[0]) ? values.get("measure")[0] : "minutes";
    const go = (patch) => L.go(L.address("trends", patch.only ?? only, {division: patch.division ?? division, measure: patch.measure ?? measure}));
    const names = L.data.names.filter((name) => only ? name === only : L.roundsOf(name).length > 1);
    const single = L.data.names.filter((name) => L.roundsOf(name).length === 1);
    L.put(root, L.h("h1", null, "Best times, round by round"),
      L.h("div", {class: "choices"}, L.select("Benchmark", [["", "every benchmark of several rounds"], ...L.data.names.map((one) => [one, L.titled(one)])], only, (value) => go({only: value})),
        L.select("Measure", MEASURES, measure, (value) => go({measure: value})),
        L.select("Division", [["closed", "closed"], ["open", "open"]], division, (value) => go({division: value}))),
      L.h("p", {class: "soft"}, "The least of all results of a round. A line connects only rounds that may be compared; a dotted upright line says that target, model or clock changed."),
      L.h("div", {class: only ? "" : "grid-of-charts"}, names.map((name) => L.chart(figure(name, division, measure)))),
      only || !single.length ? null : L.h("p", {class: "soft"}, `In one round only: ${single.join(", ")}.`),
      only ? changes(only, division, measure) : null);
  }

  const bests = (name, division, measure, count) => L.roundsOf(name).map((round) => {
    const rows = L.data.rows.filter((row) => row.benchmark === name && row.round === round && row.division === division && row[measure] !== null && (count === null || row.chips === count));
    return rows.length ? rows.reduce((a, b) => a[measure] <= b[measure] ? a : b) : null;
  });

  function figure(name, division, measure) {
    const rounds = L.roundsOf(name), versions = rounds.map((round) => L.asked(round, name)?.comparable_since ?? round);
    const series = [...SCALES, null].map((count, at) => {
      const points = [];
      bests(name, division, measure, count).forEach((row, place) => {
        if (!row) return;
        const before = points.at(-1);
        points.push({x: place, y: row[measure], gap: before && before.version !== versions[place], version: versions[place], href: L.address("entry", row.id),
          label: [rounds[place], L.named(row), L.chipsOf(row)]});
      });
      return {name: count === null ? "any scale" : `${count} chips`, at: count === null ? 6 : at, shape: at, points, line: true, dashed: count === null};
    }).filter((one) => one.points.length);
    const lines = versions.flatMap((version, at) => at && version !== versions[at - 1] ? [{x: at - 0.5, text: "new target or model"}] : []);
    return {title: L.titled(name), series, lines, height: 270, x: {label: "round", ticks: rounds.map((_, at) => at), low: -0.3, high: rounds.length - 0.7, gap: 34, format: (at) => rounds[at] ?? ""},
      y: {label: measure === "minutes" ? "minutes" : "chip-minutes", log: true}};
  }

  function changes(name, division, measure) {
    const rounds = L.roundsOf(name), rows = [];
    for (const count of [...SCALES, null]) {
      const found = bests(name, division, measure, count).map((row, at) => [rounds[at], row]).filter(([, row]) => row);
      found.forEach(([round, row], at) => {
        const before = at ? found[at - 1][1] : null, same = before && before.comparable_since === row.comparable_since;
        rows.push([count === null ? "any" : count, round, L.h("a", {href: L.address("entry", row.id)}, L.named(row)), row.chips, L.number(row[measure]),
          before ? same ? `× ${L.number(before[measure] / row[measure], 3)} since ${before.round}` : "not comparable" : ""]);
      });
    }
    return L.table("Best of each round", [["Scale"], ["Round"], ["Result"], ["Chips", true], [measure === "minutes" ? "Minutes" : "Chip-minutes", true], ["Better by"]], rows);
  }

  L.views.trends = {title: "Trends", build};
})(window.Laptime = window.Laptime || {});
