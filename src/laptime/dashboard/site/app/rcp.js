"use strict";
// Reference convergence points of a benchmark in a round, the band in which sets of runs pass, and the results in it.
(function (L) {
  function build(root, address) {
    const checked = L.data.names.filter((name) => L.data.rows.some((row) => row.benchmark === name && row.rcp_mean !== null));
    if (!checked.length) {
      L.put(root, L.h("h1", null, "Reference convergence points"), L.h("p", null, "No result of this store was compared with reference points."));
      return;
    }
    const name = checked.includes(address.part) ? address.part : checked[0];
    const rounds = L.roundsOf(name).filter((round) => L.data.rows.some((row) => row.benchmark === name && row.round === round && row.rcp_mean !== null));
    const wanted = (address.values.get("round") || [])[0], round = rounds.includes(wanted) ? wanted : rounds.at(-1);
    const box = L.h("div", null, L.h("p", {class: "wait"}, "Loading the points."));
    L.put(root, L.h("h1", null, `${L.titled(name)}: reference convergence points`),
      L.h("div", {class: "choices"}, L.select("Benchmark", checked.map((one) => [one, L.titled(one)]), name, (value) => L.go(L.address("rcp", value))),
        L.select("Round", rounds.map((one) => [one, one]), round, (value) => L.go(L.address("rcp", name, {round: value})))),
      L.h("p", {class: "soft"}, "A set of runs may need less than the reference only as far as chance allows. Below the band its time is multiplied by a factor, or the result is refused, as the round rules."), box);
    L.load("rcp", L.data.files[name]).then((all) => fill(box, name, round, all[round]), () => L.put(box, L.h("p", null, "The points cannot be read.")));
  }

  function fill(box, name, round, found) {
    const rows = L.data.rows.filter((row) => row.benchmark === name && row.round === round && row.batch_size && row.convergence !== null && row.division === "closed");
    if (!found) { L.put(box, L.h("p", null, "There are no reference points.")); return; }
    const unit = rows[0]?.unit || found.points[0]?.unit || "";
    const scale = found.points.some((one) => one.unit === unit) || !rows.length;
    const result = (row) => ({x: row.batch_size, y: row.convergence, href: L.address("entry", row.id), label: [L.named(row), row.rcp_verdict || "", row.factor && row.factor !== 1 ? `factor ${L.number(row.factor, 5)}` : ""].filter(Boolean)});
    const groups = [["passed", rows.filter((row) => row.rcp_passed === 1 && !(row.factor > 1)), 2, 2], ["passed with a factor", rows.filter((row) => row.rcp_passed === 1 && row.factor > 1), 4, 3], ["below the band", rows.filter((row) => row.rcp_passed === 0), 5, 5]];
    const reference = (one) => ({x: one.batch_size, y: one.mean, hollow: !one.used, size: 6, label: [one.name, one.verdict, `${one.runs} runs, deviation ${L.number(one.deviation)}`]});
    const spread = found.points.filter((one) => one.mean !== null).map((one) => ({x: one.batch_size, y: one.mean, low: one.mean - one.deviation, high: one.mean + one.deviation}));
    const sizes = [...found.points.map((one) => one.batch_size), ...rows.map((row) => row.batch_size)];
    L.put(box, L.chart({title: `${name}, ${round}: ${unit} to the target against batch size`, text: scale ? "The band reaches from the least mean that passes to the mean of the reference." : `The points are in ${found.points[0].unit}, the results in ${unit}.`, legend: true,
      x: {label: "batch size", log: true, format: (value) => L.number(value, 6), low: Math.min(...sizes) / 1.1, high: Math.max(...sizes) * 1.1}, y: {label: unit, format: (value) => Math.abs(value) >= 1e5 ? `${L.number(value / 1e6, 3)} M` : L.number(value)},
      bands: found.band.length ? [{at: 0, points: found.band.map(([size, mean, least]) => [size, least, mean])}] : [],
      series: [...groups.filter(([, list]) => list.length).map(([words, list, at, shape]) => ({name: words, at, shape, points: list.map(result)})),
        {name: "one deviation of the reference runs", at: 6, line: true, bare: true, deaf: true, points: spread.flatMap((one) => [{x: one.x, y: one.low, gap: true}, {x: one.x, y: one.high}])},
        {name: "reference point", at: 0, shape: 0, points: found.points.filter((one) => one.mean !== null && one.used).map(reference)},
        {name: "reference point, not used", at: 0, shape: 0, hollow: true, points: found.points.filter((one) => one.mean !== null && !one.used).map(reference)}]}),
    L.table("Reference points", [["Name"], ["Batch size", true], ["Runs", true], [`Mean (${found.points[0]?.unit || ""})`, true], ["Deviation", true], ["Use"]],
      found.points.map((one) => [one.name, L.number(one.batch_size, 7), one.runs, L.number(one.mean, 5), L.number(one.deviation), one.verdict])),
    L.table("Results, closest to the bound first", [["Result"], ["Chips", true], ["Batch size", true], [`Needed (${unit})`, true], ["Least that passes", true], ["Times the bound", true], ["Factor", true], ["Verdict"]],
      L.sorted(rows, [["rcp_margin", 1]]).map((row) => [L.h("a", {href: L.address("entry", row.id)}, L.named(row)), L.number(row.chips, 6), L.number(row.batch_size, 7), L.number(row.convergence, 5), L.number(row.rcp_minimum, 5), L.number(row.rcp_margin), L.number(row.factor, 5), row.rcp_verdict ?? "–"])));
  }

  L.views.rcp = {title: "Reference points", build};
})(window.Laptime = window.Laptime || {});
