"use strict";
// The table of results: search, facets, ranges, order, columns, groups, rows that open, pins. The address holds it all.
(function (L) {
  const SCREEN = 30, PAGE = 80;  // rows drawn at once: first what a screen holds, then more as the end comes near
  const SORT = [["benchmark", 1], ["minutes", 1]];
  const GROUPS = [["", "No groups"], ["benchmark", "Benchmark"], ["round", "Round"], ["submitter", "Submitter"],
    ["system_name", "System"], ["accelerator", "Accelerator"], ["division", "Division"]];
  const BEST = [["", "All results"], ["benchmark", "Benchmark"], ["submitter", "Submitter"], ["accelerator", "Accelerator"],
    ["chips", "Number of chips"], ["round", "Round"]];
  let parts = null, choice = null, found = [], drawn = 0;

  const clean = () => ({q: "", facets: {}, ranges: {}, sort: SORT, columns: L.DEFAULT_COLUMNS, group: "", best: "", open: []});

  function read(address) {
    const values = address.values, one = (name) => (values.get(name) || [""])[0];
    const known = (values.get("cols") || []).filter((key) => L.columnOf.has(key));
    const sort = (values.get("sort") || []).map((key) => key.startsWith("-") ? [key.slice(1), -1] : [key, 1]).filter(([key]) => L.columnOf.has(key));
    if (values.has("pin")) L.pins = values.get("pin").filter((id) => L.data.byId.has(id)).slice(0, L.MOST_PINS);
    return {
      q: one("q"), group: GROUPS.some(([key]) => key === one("group")) ? one("group") : "",
      best: BEST.some(([key]) => key === one("best")) ? one("best") : "", open: values.get("open") || [],
      facets: Object.fromEntries(L.FACETS.filter(([name]) => values.has(name)).map(([name]) => [name, values.get(name)])),
      ranges: Object.fromEntries(L.RANGES.filter(([name]) => values.has(`${name}-range`)).map(([name]) => [name, ends(one(`${name}-range`))])),
      sort: sort.length ? sort : SORT, columns: known.length ? known : L.DEFAULT_COLUMNS,
    };
  }
  const ends = (text) => text.split("..").slice(0, 2).map((end) => end === "" || !Number.isFinite(+end) ? null : +end);

  L.resultsAddress = (wanted) => {
    const all = {...clean(), ...wanted}, same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
    return L.address("results", "", {
      q: all.q, ...all.facets, ...Object.fromEntries(Object.entries(all.ranges).map(([name, of]) => [`${name}-range`, of ? `${of[0] ?? ""}..${of[1] ?? ""}` : ""])),
      sort: same(all.sort, SORT) ? [] : all.sort.map(([key, direction]) => (direction < 0 ? "-" : "") + key),
      cols: same(all.columns, L.DEFAULT_COLUMNS) ? [] : all.columns, group: all.group, best: all.best, open: all.open, pin: L.pins,
    });
  };
  const change = (patch, typing) => L.go(L.resultsAddress({...choice, ...patch}), typing);

  function build(root) {
    const rows = L.data.rows;
    const search = L.h("input", {type: "search", id: "search", placeholder: "Search: words, or benchmark:… chips<=64 round:v4", "aria-label": "Search all results",
      autocomplete: "off", spellcheck: "false", "aria-keyshortcuts": "/", input: () => change({q: search.value, open: []}, true)});
    const facets = L.FACETS.map(([name, label]) => [name, L.facet(name, label, rows, (values) => change({facets: {...choice.facets, [name]: values}, open: []}))]);
    const ranges = L.RANGES.map(([name, label]) => [name, L.range(name, label, rows, (of) => change({ranges: {...choice.ranges, [name]: of}, open: []}, true))]);
    for (const [name, facet] of facets) facet.element.open = ["round", "benchmark", "chips"].includes(name);
    const filters = L.h("details", {class: "filters", open: window.matchMedia("(min-width: 60rem)").matches}, L.h("summary", null, "Filters"),
      facets.slice(0, 4).map(([, facet]) => facet.element), ranges.map(([, range]) => range.element), facets.slice(4).map(([, facet]) => facet.element));
    const presets = L.h("div", {class: "presets", role: "group", "aria-label": "Quick questions"}, L.PRESETS.map(([words, give, hint]) =>
      L.h("button", {type: "button", title: hint, click: () => L.go(L.resultsAddress({...clean(), ...give()}))}, words)));
    const group = L.select("Group by", GROUPS, "", (value) => change({group: value}));
    const best = L.select("Only the best per", BEST, "", (value) => change({best: value}));
    const table = L.h("table", {class: "results", id: "table"});
    const region = L.h("div", {class: "wide tall", role: "region", "aria-label": "Results", tabindex: 0}, table);
    const more = L.h("button", {type: "button", class: "more", click: () => draw(PAGE * 4)}, "More rows");
    const told = L.h("p", {class: "told", id: "told", role: "status"});
    const clear = L.h("button", {type: "button", id: "clear", click: () => L.go(L.resultsAddress({columns: choice.columns}))}, "Clear");
    L.put(root, L.h("h1", {class: "hidden"}, "Results"), L.h("div", {class: "split"}, L.h("aside", {"aria-label": "Filters"}, filters),
      L.h("section", {class: "body", "aria-label": "Table of results"},
        L.h("div", {class: "seek"}, search, clear), presets,
        L.h("div", {class: "bar"}, told, group, best, chooser(), L.shareButtons(shared)), region, more)));
    parts = {search, facets, ranges, table, region, more, told, group: group.querySelector("select"), best: best.querySelector("select"), clear};
    new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) draw(PAGE); }, {root: region, rootMargin: "600px"}).observe(more);
    table.addEventListener("keydown", keys);
  }

  function chooser() {
    const ticks = L.COLUMNS.map((one) => {
      const label = L.check(one.head, false, () => {
        const kept = new Set(ticks.filter(([, box]) => box.checked).map(([key]) => key));
        change({columns: [...choice.columns.filter((key) => kept.has(key)), ...[...kept].filter((key) => !choice.columns.includes(key))]});
      });
      return [one.key, label.querySelector("input"), label];
    });
    const sets = Object.entries(L.COLUMN_SETS).map(([words, columns]) => L.h("button", {type: "button", click: () => change({columns})}, words));
    const element = L.h("details", {class: "chooser"}, L.h("summary", null, "Columns"), L.h("div", {class: "panel"},
      L.h("div", {class: "presets"}, sets), L.h("div", {class: "ticks"}, ticks.map(([, , label]) => label))));
    element.addEventListener("toggle", () => { for (const [key, box] of ticks) box.checked = choice.columns.includes(key); });
    return element;
  }

  function update(address) {
    const started = performance.now();
    choice = read(address);
    const {rows, counts} = L.filtered(L.data.rows, choice);
    found = L.sorted(choice.best ? L.bestOnly(rows, choice.best) : rows, choice.group ? [[choice.group, 1], ...choice.sort] : choice.sort);
    if (document.activeElement !== parts.search) parts.search.value = choice.q;
    for (const [name, facet] of parts.facets) facet.update(choice.facets[name] || [], counts[name]);
    for (const [name, range] of parts.ranges) range.update(choice.ranges[name]);
    parts.group.value = choice.group;
    parts.best.value = choice.best;
    L.put(parts.told, L.h("strong", null, L.plural(found.length, "result")), found.length < L.data.rows.length ? ` of ${L.data.rows.length}` : "");
    parts.clear.hidden = !choice.q && !Object.keys(choice.facets).length && !Object.keys(choice.ranges).length && !choice.best && choice.sort === SORT;
    head();
    parts.region.scrollTop = 0;
    drawn = 0;
    draw(SCREEN);
    L.drawPins();
    L.lastUpdate = performance.now() - started;
  }

  function head() {
    const place = new Map(choice.sort.map(([key, direction], at) => [key, [direction, at]]));
    const cells = choice.columns.map((key) => {
      const column = L.columnOf.get(key), [direction, at] = place.get(key) || [0, 0];
      const mark = direction ? (direction > 0 ? " ▲" : " ▼") + (choice.sort.length > 1 ? at + 1 : "") : "";
      return L.h("th", {scope: "col", class: column.numeric ? "n" : null, "data-key": key, "aria-sort": direction ? (direction > 0 ? "ascending" : "descending") : "none"},
        L.h("button", {type: "button", class: "plain", title: column.hint ? `${column.hint} Shift-click: a further order.` : "Shift-click: a further order.",
          click: (event) => order(key, event.shiftKey)}, column.head, L.h("span", {class: "mark", "aria-hidden": "true"}, mark)));
    });
    const body = L.h("tbody");
    L.put(parts.table, L.h("caption", null, "Unverified results, computed from logs. Minutes to the target."),
      L.h("thead", null, L.h("tr", null, L.h("th", {scope: "col", class: "tools"}, L.h("span", {class: "hidden"}, "Open and pin")), cells)), body);
    parts.body = body;
  }

  function order(key, further) {
    const now = choice.sort.find(([one]) => one === key), turned = now ? -now[1] : 1;
    const sort = further ? now ? choice.sort.map((one) => one[0] === key ? [key, turned] : one) : [...choice.sort, [key, 1]] : [[key, choice.sort[0][0] === key ? turned : 1]];
    change({sort});
  }

  function draw(count) {
    const until = Math.min(found.length, drawn + count), fastest = bestOf();
    const rows = [];
    for (; drawn < until; drawn++) {
      const row = found[drawn];
      if (choice.group && (drawn === 0 || found[drawn - 1][choice.group] !== row[choice.group])) rows.push(groupRow(row));
      rows.push(line(row, fastest));
      if (choice.open.includes(row.id)) rows.push(opened(row));
    }
    parts.body.append(...rows);
    if (!found.length) parts.body.append(L.h("tr", null, L.h("td", {colspan: choice.columns.length + 1, class: "none"}, "No result is like this. Take a filter away.")));
    if (!parts.body.querySelector("tr.row[tabindex='0']")) parts.body.querySelector("tr.row")?.setAttribute("tabindex", "0");
    parts.more.hidden = drawn >= found.length;
  }

  function bestOf() {
    const best = new Map();
    for (const row of found) if (row.minutes !== null) best.set(row.benchmark, Math.min(row.minutes, best.get(row.benchmark) ?? Infinity));
    return best;
  }

  function groupRow(first) {
    const same = found.filter((row) => row[choice.group] === first[choice.group]);
    return L.h("tr", {class: "group"}, L.h("th", {colspan: choice.columns.length + 1, scope: "colgroup"},
      first[choice.group] ?? L.NONE, L.h("span", {class: "count"}, ` ${L.plural(same.length, "result")}`)));
  }

  function line(row, fastest) {
    const open = choice.open.includes(row.id), pinned = L.pins.includes(row.id);
    const tools = L.h("td", {class: "tools"},
      L.h("button", {type: "button", class: "plain open", "aria-expanded": String(open), "aria-label": `Runs of ${L.named(row)}`, click: () => toggle(row)}, open ? "▾" : "▸"),
      L.h("input", {type: "checkbox", class: "pin", "aria-label": `Pin ${L.named(row)} to compare`, change: (event) => L.pin(row.id, event.target.checked)}));
    tools.lastChild.checked = pinned;
    return L.h("tr", {class: row.minutes === null ? "row unscored" : "row", tabindex: -1, "data-id": row.id}, tools, choice.columns.map((key) => cell(row, key, fastest)));
  }

  function cell(row, key, fastest) {
    const column = L.columnOf.get(key);
    const content = key === "submitter" || (key === choice.columns[0]) ? L.h("a", {href: L.address("entry", row.id)}, column.cell(row) || L.NONE) : column.cell(row);
    const element = L.h("td", {class: [column.numeric ? "n" : "t", column.bar ? "barred" : ""].join(" ").trim(), title: column.numeric ? null : row[key]}, content);
    if (column.bar && row.minutes) element.style.setProperty("--share", `${(100 * fastest.get(row.benchmark) / row.minutes).toFixed(1)}%`);
    return element;
  }

  function toggle(row) {
    const open = choice.open.includes(row.id);
    choice.open = open ? choice.open.filter((id) => id !== row.id) : [...choice.open, row.id];
    L.go(L.resultsAddress(choice), true, true);
    const element = parts.body.querySelector(`tr.row[data-id="${row.id}"]`), button = element.querySelector(".open");
    if (open) element.nextElementSibling.remove(); else element.after(opened(row));
    button.setAttribute("aria-expanded", String(!open));
    button.textContent = open ? "▸" : "▾";
  }

  function opened(row) {
    const box = L.h("div", {class: "detail"}, L.h("p", {class: "wait"}, "Loading its runs."));
    L.load("entry", row.id).then((more) => L.put(box, L.detail(row, more)), () => L.put(box, L.h("p", null, "Its data cannot be read.")));
    return L.h("tr", {class: "opened"}, L.h("td", {colspan: choice.columns.length + 1}, box));
  }

  function keys(event) {
    const row = event.target.closest("tr.row");
    if (!row || event.target.matches("input, button, a") && !["ArrowDown", "ArrowUp"].includes(event.key)) return;
    const step = {ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling"}[event.key], result = L.data.byId.get(row.dataset.id);
    if (step) {
      let next = row[step];
      while (next && !next.classList.contains("row")) next = next[step];
      if (next) focus(row, next);
    } else if (event.key === "Enter") L.go(L.address("entry", result.id));
    else if (event.key === " " || event.key === "ArrowRight" || event.key === "ArrowLeft") {
      if (event.key === " " || (event.key === "ArrowRight") !== choice.open.includes(result.id)) toggle(result);
    } else if (event.key === "p") L.pin(result.id, !L.pins.includes(result.id));
    else return;
    event.preventDefault();
  }

  function focus(from, to) {
    from.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
    to.scrollIntoView({block: "nearest"});
  }

  function shared() {
    const columns = [...new Set([...choice.columns, "division", "availability", "unit"])];
    return {name: "results", columns: [...columns, "verified"], rows: found.map((row) => [...columns.map((key) => row[key]), "unverified"])};
  }

  L.views.results = {
    title: "Results", build, update, shared, wholly: () => { if (parts) draw(Infinity); },
    pinned: () => {
      for (const box of parts.body.querySelectorAll("tr.row")) box.querySelector(".pin").checked = L.pins.includes(box.dataset.id);
      L.go(L.resultsAddress(choice), true, true);
    },
  };
})(window.Laptime = window.Laptime || {});
