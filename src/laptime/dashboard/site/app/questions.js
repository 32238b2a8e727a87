"use strict";
// Questions that have a name, with the answers that the store gave at export; narrowed by round and benchmark.
(function (L) {
  const PAGE = 200;

  function build(root, address) {
    L.put(root, L.h("h1", null, "Questions"), L.h("p", {class: "wait"}, "Loading the questions."));
    L.load("questions", "").then((catalogue) => draw(root, address, catalogue), () => L.put(root, L.h("h1", null, "Questions"), L.h("p", null, "They cannot be read.")));
  }

  function draw(root, address, catalogue) {
    const names = Object.keys(catalogue), name = names.includes(address.part) ? address.part : names[0];
    const answer = L.h("section", {"aria-label": "Answer"}, L.h("p", {class: "wait"}, "Loading the answer."));
    L.put(root, L.h("h1", null, "Questions"), L.h("div", {class: "asked"},
      L.h("nav", {"aria-label": "Questions"}, names.map((one) => L.h("a", {href: L.address("questions", one), "aria-current": one === name ? "true" : null}, catalogue[one]))), answer));
    L.load("question", name).then((found) => fill(answer, name, found, address), () => L.put(answer, L.h("p", null, "The answer cannot be read.")));
  }

  function fill(box, name, found, address) {
    const chosen = Object.fromEntries(found.choices.map((one) => [one, (address.values.get(one) || [""])[0]]));
    const places = Object.fromEntries(found.choices.map((one) => [one, found.columns.indexOf(one)]));
    const rows = found.rows.filter((row) => found.choices.every((one) => !chosen[one] || String(row[places[one]]) === chosen[one]));
    const go = (one, value) => L.go(L.address("questions", name, {...chosen, [one]: value}));
    const values = (one) => [...new Set(found.rows.filter((row) => found.choices.every((other) => other === one || !chosen[other] || String(row[places[other]]) === chosen[other])).map((row) => String(row[places[one]])))];
    const ordered = (one) => values(one).sort((a, b) => (L.data.order.get(a) ?? -1) - (L.data.order.get(b) ?? -1) || a.localeCompare(b));
    const fixed = Object.entries(found.fixed).map(([key, value]) => `${key} = ${value}`);
    const numeric = found.columns.map((_, at) => rows.some((row) => typeof row[at] === "number"));
    const shown = rows.slice(0, PAGE), table = L.table(`${L.plural(rows.length, "row")}, unverified`, found.columns.map((words, at) => [words.replace(/_/g, " "), numeric[at]]),
      shown.map((row) => row.map((cell) => typeof cell === "number" ? L.number(cell, 6) : cell ?? "–")));
    L.put(box, L.h("h2", null, found.text), L.h("div", {class: "choices"}, found.choices.map((one) => L.select(one, [["", "all"], ...ordered(one).map((value) => [value, value])], chosen[one], (value) => go(one, value))),
      L.shareButtons(() => ({name, columns: [...found.columns, "verified"], rows: rows.map((row) => [...row, "unverified"])}))),
    fixed.length ? L.h("p", {class: "soft"}, `With ${fixed.join(", ")}. Other values: laptime query ${name} -p ${Object.keys(found.fixed)[0]}=...`) : null,
    rows.length ? table : L.h("p", null, "Nothing."),
    rows.length > PAGE ? L.h("button", {type: "button", click: (event) => { event.target.remove(); const body = table.querySelector("tbody"); for (const row of rows.slice(PAGE)) body.append(L.h("tr", null, row.map((cell, at) => L.h("td", {class: numeric[at] ? "n" : null}, typeof cell === "number" ? L.number(cell, 6) : cell ?? "–")))); }}, `${rows.length - PAGE} more rows`) : null,
    found.cut ? L.h("p", {class: "soft"}, "The store has more rows than are kept here.") : null);
  }

  L.views.questions = {title: "Questions", build};
})(window.Laptime = window.Laptime || {});
