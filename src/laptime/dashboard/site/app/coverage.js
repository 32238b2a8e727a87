"use strict";
// Who submitted what: submitters, or accelerators, against benchmarks. A cell leads to its results.
(function (L) {
  const ROWS = [["submitter", "submitters"], ["accelerator", "accelerators"]];
  const CELLS = [["results", "number of results"], ["minutes", "best minutes"], ["chip_minutes", "least chip-minutes"]];

  function build(root, address) {
    const values = address.values, one = (name, list, other) => list.some(([key]) => key === (values.get(name) || [])[0]) ? values.get(name)[0] : other;
    const by = one("by", ROWS, "submitter"), show = one("show", CELLS, "results"), known = L.data.rounds.map((round) => round.name);
    const wanted = (values.get("round") || [])[0], round = known.includes(wanted) ? wanted : wanted === "all" ? "all" : known.at(-1) ?? "all";
    const go = (patch) => L.go(L.address("coverage", "", {round, by, show, ...patch}));
    const rows = L.data.rows.filter((row) => round === "all" || row.round === round);
    const names = L.data.names.filter((name) => rows.some((row) => row.benchmark === name));
    const lines = [...new Set(rows.map((row) => row[by] || L.NONE))].sort((a, b) => a.localeCompare(b, "en", {sensitivity: "base"}));
    const all = lines.flatMap((line) => names.map((name) => value(rows, by, line, name, show))).filter((cell) => cell !== null);
    const most = Math.max(1, ...all.map((cell) => cell.value));
    const cells = lines.map((line) => names.map((name) => link(value(rows, by, line, name, show), {by, line, name, round, show, most, rows})));
    L.put(root, L.h("h1", null, "Coverage"),
      L.h("div", {class: "choices"}, L.select("Round", [["all", "all rounds"], ...known.map((name) => [name, name])], round, (value) => go({round: value})),
        L.select("Lines", ROWS, by, (value) => go({by: value})), L.select("Cells", CELLS, show, (value) => go({show: value}))),
      L.h("p", {class: "soft"}, `${L.plural(rows.length, "result")}, ${L.plural(lines.length, ROWS.find(([key]) => key === by)[1].slice(0, -1))}, ${L.plural(names.length, "benchmark")}. `
        + "An empty cell: nothing was submitted. Submitters choose what they show.", show === "results" ? "" : " A darker cell is closer to the best of its column. Unverified."),
      L.h("div", {class: "wide", tabindex: 0, role: "region", "aria-label": "Coverage"}, L.h("table", {class: "matrix"}, L.h("caption", null, `${CELLS.find(([key]) => key === show)[1]}, ${round === "all" ? "all rounds" : round}`),
        L.h("thead", null, L.h("tr", null, L.h("td"), names.map((name) => L.h("th", {scope: "col"}, L.h("a", {href: L.address("benchmark", name, round === "all" ? {} : {round})}, name))))),
        L.h("tbody", null, lines.map((line, at) => L.h("tr", null, L.h("th", {scope: "row"}, line), cells[at].map((cell) => L.h("td", null, cell))))))));
  }

  function value(rows, by, line, name, show) {
    const found = rows.filter((row) => row.benchmark === name && (row[by] || L.NONE) === line);
    if (!found.length) return null;
    if (show === "results") return {value: found.length, words: String(found.length)};
    const numbers = found.map((row) => row[show]).filter((one) => one !== null);
    return numbers.length ? {value: Math.min(...numbers), words: show === "minutes" ? L.minutes(Math.min(...numbers)) : L.number(Math.min(...numbers))} : {value: 0, words: "–"};
  }

  function link(cell, {by, line, name, round, show, most, rows}) {
    if (!cell) return null;
    const element = L.h("a", {href: L.resultsAddress({facets: {[by]: [line], benchmark: [name], ...(round === "all" ? {} : {round: [round]})}}), "aria-label": `${line}, ${name}: ${cell.words}`}, cell.words);
    const best = show === "results" ? 0 : Math.min(...rows.filter((row) => row.benchmark === name && row[show] !== null).map((row) => row[show]));
    const heat = show === "results" ? Math.sqrt(cell.value / most) : cell.value ? best / cell.value : 0;
    element.style.setProperty("--heat", `${(6 + 44 * heat).toFixed(0)}%`);
    return element;
  }

  L.views.coverage = {title: "Coverage", build};
})(window.Laptime = window.Laptime || {});
