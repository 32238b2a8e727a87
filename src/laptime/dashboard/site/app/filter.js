"use strict";
// Which rows a reader asked for: words, facets, ranges; in which order; and how many each further choice would leave.
// Pure functions of rows and a choice {q, facets: {name: [values]}, ranges: {name: [low, high]}, sort, best}.
(function (L) {
  L.FACETS = [["round", "Round"], ["benchmark", "Benchmark"], ["division", "Division"], ["chips", "Chips"],
    ["submitter", "Submitter"], ["accelerator", "Accelerator"], ["availability", "Availability"],
    ["framework", "Framework"], ["nodes", "Nodes"]];
  L.RANGES = [["chips", "Chips between"], ["minutes", "Minutes between"]];
  L.NONE = "(none)";
  const WORD = /(-?)(?:([a-z_]+)(<=|>=|[:=<>]))?(?:"([^"]*)"|(\S+))/gi;
  const SHORT = {accelerators: "accelerators", acc: "accelerators", system: "system_name", batch: "batch_size"};

  // "resnet round:v4.0 chips<=8 -preview": tests that must all hold.
  L.words = (text) => {
    const tests = [];
    for (const [, minus, field, sign, quoted, plain] of text.matchAll(WORD)) {
      const wanted = (quoted === undefined ? plain : quoted).toLowerCase();
      if (!wanted && !field) continue;
      const test = field ? fieldTest(SHORT[field.toLowerCase()] || field.toLowerCase(), sign, wanted)
        : (row) => row.seek.includes(wanted);
      tests.push(minus ? (row) => !test(row) : test);
    }
    return tests;
  };

  function fieldTest(field, sign, wanted) {
    const number = Number(wanted);
    if (sign === ":") return (row) => String(row[field] ?? "").toLowerCase().includes(wanted);
    if (sign === "=") return (row) => String(row[field] ?? "").toLowerCase() === wanted;
    const compare = {"<": (a) => a < number, ">": (a) => a > number, "<=": (a) => a <= number, ">=": (a) => a >= number}[sign];
    return (row) => typeof row[field] === "number" && compare(row[field]);
  }

  const shown = (row, name) => row[name] === null || row[name] === undefined || row[name] === "" ? L.NONE : String(row[name]);
  L.facetValue = shown;

  // {rows, counts: name -> value -> how many rows it would leave, all other choices kept}
  L.filtered = (rows, choice) => {
    const words = L.words(choice.q);
    const facets = L.FACETS.map(([name]) => ({name, wanted: new Set(choice.facets[name] || []), counts: new Map()}));
    const ranges = L.RANGES.filter(([name]) => choice.ranges[name]).map(([name]) => ({name, of: choice.ranges[name]}));
    const found = [];
    for (const row of rows) {
      if (!words.every((test) => test(row)) || !ranges.every((one) => within(row[one.name], one.of))) continue;
      let missed = null, count = 0;
      for (const facet of facets) {
        if (facet.wanted.size && !facet.wanted.has(shown(row, facet.name))) { missed = facet; if (++count > 1) break; }
      }
      if (count > 1) continue;
      if (count === 0) found.push(row);
      for (const facet of facets) {
        if (count === 0 || facet === missed) {
          const value = shown(row, facet.name);
          facet.counts.set(value, (facet.counts.get(value) || 0) + 1);
        }
      }
    }
    return {rows: found, counts: Object.fromEntries(facets.map((facet) => [facet.name, facet.counts]))};
  };

  const within = (value, [low, high]) => typeof value === "number" && (low === null || value >= low) && (high === null || value <= high);

  // The fastest row of each benchmark, round and division (and of each value of `by`).
  L.bestOnly = (rows, by) => {
    const best = new Map();
    for (const row of rows) {
      if (row.minutes === null) continue;
      const key = JSON.stringify([row.benchmark, row.comparable_since, row.division, by === "benchmark" ? "" : row[by]]);
      const other = best.get(key);
      if (!other || row.minutes < other.minutes) best.set(key, row);
    }
    const kept = new Set(best.values());
    return rows.filter((row) => kept.has(row));
  };

  // sort: [[column, 1 or -1]]; what is missing comes last either way.
  L.sorted = (rows, sort) => {
    const keys = sort.map(([name, direction]) => [name === "round" ? "roundAt" : name, direction]);
    return [...rows].sort((a, b) => {
      for (const [name, direction] of keys) {
        const order = compare(a[name], b[name], direction);
        if (order) return order;
      }
      return a.at - b.at;
    });
  };
  const names = new Intl.Collator("en", {numeric: true, sensitivity: "base"});

  function compare(a, b, direction) {
    const none = (value) => value === null || value === undefined || value === "";
    if (none(a) || none(b)) return none(a) - none(b);
    return direction * (typeof a === "number" && typeof b === "number" ? (a === b ? 0 : a - b) : names.compare(String(a), String(b)));
  }
})(window.Laptime = window.Laptime || {});
