"use strict";
// Up to six results side by side: ratios to one of them with intervals, where they may be compared at all; facts and
// hyperparameters, only those that differ if asked.
(function (L) {
  const FACTS = [["submitter", "Submitter"], ["system_name", "System"], ["round", "Round"], ["division", "Division"], ["availability", "Availability"], ["benchmark", "Benchmark"],
    ["comparable_since", "Comparable since"], ["chips", "Chips"], ["accelerator", "Accelerator"], ["nodes", "Nodes"], ["processor", "Processor"], ["framework", "Framework"],
    ["batch_size", "Batch size"], ["convergence", "Needed"], ["unit", "Unit"], ["runs", "Runs"], ["converged", "Converged"], ["factor", "Factor"], ["chip_minutes", "Chip-minutes"], ["init_minutes", "Initialisation, minutes"], ["joules", "Joules"], ["rcp_verdict", "Convergence check"]];

  function build(root, address) {
    const asked = address.values.get("ids") || L.pins, rows = asked.map((id) => L.data.byId.get(id)).filter(Boolean).slice(0, L.MOST_PINS);
    if (rows.length) L.pins = rows.map((row) => row.id);
    const only = (address.values.get("only") || [])[0] === "differences";
    const wanted = (address.values.get("base") || [])[0], base = rows.find((row) => row.id === wanted) || rows[0];
    const go = (patch) => L.go(L.address("compare", "", {ids: patch.ids ?? rows.map((row) => row.id), base: patch.base ?? base?.id, only: patch.only ?? (only ? "differences" : "")}));
    if (rows.length < 2) {
      L.put(root, L.h("h1", null, "Compare results"), L.h("p", null, "Pin two to six results in the ", L.h("a", {href: "#/results"}, "table"), " with the box at the start of a row, then press ", L.h("kbd", null, "c"), "."),
        rows.length ? L.h("p", null, `Pinned so far: ${L.named(rows[0])}, ${rows[0].benchmark}, ${rows[0].round}.`) : null);
      return;
    }
    const settings = L.h("div", null, L.h("p", {class: "wait"}, "Loading hyperparameters."));
    L.put(root, L.h("h1", null, `${L.plural(rows.length, "result")} side by side`),
      L.h("div", {class: "choices"}, L.select("Compared with", rows.map((row) => [row.id, short(row)]), base.id, (value) => go({base: value}), {id: "base"}),
        L.check("Only what differs", only, (on) => go({only: on ? "differences" : ""}))),
      ratios(rows, base, go), interval(rows),
      L.h("h2", null, "Facts"), L.table("Facts", [[""], ...rows.map((row) => [short(row)])], FACTS.map(([key, words]) => [words, ...rows.map((row) => typeof row[key] === "number" ? L.number(row[key], 6) : row[key] ?? "–")])
        .filter((cells) => !only || new Set(cells.slice(1)).size > 1), {class: "narrow"}), settings);
    Promise.all(rows.map((row) => L.load("entry", row.id))).then((all) => L.put(settings, hyperparameters(rows, all, only)), () => L.put(settings, L.h("p", null, "Their hyperparameters cannot be read.")));
  }
  const short = (row) => `${row.submitter} ${row.system_name} (${row.benchmark}, ${row.round})`;

  function ratios(rows, base, go) {
    return [L.table("Minutes, unverified, and how they compare", [["Result"], ["Minutes", true], ["95 % interval", true], ["Times as long", true], ["95 % interval", true], ["Verdict"], ["Also differs"], [""]], rows.map((row) => {
      const why = L.notComparable(row, base), ratio = row === base || why.length ? null : L.ratio(row, base), own = spread(row);
      return [L.h("a", {href: L.address("entry", row.id)}, short(row)), L.minutes(row.minutes), own ? `${L.minutes(own[0])} to ${L.minutes(own[1])}` : "–",
        ratio ? L.number(ratio.ratio) : row === base ? "1" : "–", ratio && ratio.low !== null ? `${L.number(ratio.low, 3)} to ${L.number(ratio.high, 3)}` : "–",
        verdict(row, base, why, ratio), row === base ? "" : L.caveats(row, base).join(", "),
        L.h("button", {type: "button", class: "plain", "aria-label": `Take ${short(row)} out`, click: () => { L.pins = L.pins.filter((id) => id !== row.id); go({ids: L.pins, base: row === base ? "" : base.id}); }}, "×")];
    })), L.h("p", {class: "soft"}, "Intervals tell how far the mean of so few runs may be from that of many, by Student's t with winsorised variance. They know nothing of differences in tuning, and published times are "
      + "known to only 2.5 to 5 % between occasions. Results of this page are unverified; set beside verified ones they may rest on inconsistent methods.")];
  }

  function verdict(row, base, why, ratio) {
    if (row === base) return "compared with";
    if (why.length) return L.h("strong", {class: "bad"}, `not comparable: ${why.join(", ")}`);
    if (!ratio) return "no score";
    if (ratio.low === null) return "too few runs to tell";
    if (ratio.high < 1) return L.h("span", {class: "good"}, "faster");
    return ratio.low > 1 ? "slower" : "no clear difference";
  }

  function spread(row) {
    if (row.minutes === null || row.deviation === null) return null;
    const reach = L.studentQuantile(0.975, row.freedom) * row.deviation * row.minutes;
    return [Math.max(0, row.minutes - reach), row.minutes + reach];
  }

  function interval(rows) {
    const shown = rows.filter(spread);
    if (new Set(rows.map((row) => `${row.benchmark} ${row.comparable_since} ${row.division}`)).size > 1 || shown.length < 2) return null;
    const name = (at) => shown[at] ? `${shown[at].submitter.slice(0, 14)} ${shown[at].chips}` : "";
    return L.chart({title: "Minutes with 95 % intervals", text: "Submitter and chips.", height: 70 + shown.length * 30, x: {label: "minutes"}, y: {label: "", low: shown.length - 0.4, high: -0.6, ticks: shown.map((_, at) => at), format: name, names: true},
      series: [{name: "interval", at: 0, line: true, bare: true, deaf: true, silent: true, points: shown.flatMap((row, at) => spread(row).map((x, end) => ({x, y: at, gap: end === 0})))},
        {name: "score", at: 0, shape: 3, points: shown.map((row, at) => ({x: row.minutes, y: at, href: L.address("entry", row.id), label: [short(row)]}))}]});
  }

  function hyperparameters(rows, all, only) {
    const held = all.map((one) => { const map = new Map(); for (const set of one.settings) map.set(set.name, map.has(set.name) ? `${map.get(set.name)}; ${set.value}` : set.value); return map; });
    const names = [...new Set(all.flatMap((one) => one.settings.filter((set) => set.asked).map((set) => set.name)))];
    const cells = names.map((name) => [name, ...held.map((map) => map.get(name) ?? "–")]).filter((list) => !only || new Set(list.slice(1)).size > 1);
    const element = L.table("As logged", [["Name"], ...rows.map((row) => [short(row)])], cells, {class: "narrow"});
    element.querySelectorAll("tbody tr").forEach((line, at) => { if (new Set(cells[at].slice(1)).size > 1) line.classList.add("differs"); });
    return [L.h("h2", null, "Hyperparameters"), cells.length ? element : L.h("p", null, "None differs.")];
  }

  L.views.compare = {title: "Compare", build};
})(window.Laptime = window.Laptime || {});
