"use strict";
// Choices beside the table: lists of values with how many results each would leave, and ranges with two handles.
(function (L) {
  const FEW = 8;  // values of a list shown before all of them are asked for

  // A list of values to tick. changed(values) is called with all that are ticked.
  L.facet = (name, label, rows, changed) => {
    const totals = new Map();
    for (const row of rows) totals.set(L.facetValue(row, name), (totals.get(L.facetValue(row, name)) || 0) + 1);
    const items = ordered(name, [...totals]).map(([value]) => item(name, value, () => changed(items.filter((one) => one.box.checked).map((one) => one.value))));
    let all = false, seek = "";
    const chosen = L.h("span", {class: "chosen"});
    const list = L.h("div", {class: "values", role: "group", "aria-label": label}, items.map((one) => one.element));
    const more = L.h("button", {type: "button", class: "plain more", click: () => { all = !all; show(); }});
    const find = items.length > 2 * FEW ? L.h("input", {type: "search", placeholder: `Find a value`, "aria-label": `Find in ${label}`,
      input: (event) => { seek = event.target.value.toLowerCase(); show(); }}) : null;
    const element = L.h("details", {class: "facet", "data-facet": name},
      L.h("summary", null, label, " ", chosen), find, list, more);

    function show() {
      let seen = 0, hidden = 0;
      for (const one of items) {
        const wanted = one.box.checked || ((one.count > 0) && one.value.toLowerCase().includes(seek));
        const visible = wanted && (one.box.checked || all || seek || seen < FEW);
        if (wanted) visible ? seen++ : hidden++;
        one.element.hidden = !visible;
      }
      more.hidden = !all && !hidden;
      more.textContent = all ? "Fewer" : `${hidden} more`;
    }

    const update = (wanted, counts) => {
      const ticked = new Set(wanted);
      for (const one of items) {
        one.box.checked = ticked.has(one.value);
        one.count = counts.get(one.value) || 0;
        one.shown.textContent = one.count;
      }
      chosen.textContent = wanted.length ? wanted.length === 1 ? wanted[0] : `${wanted.length} chosen` : "";
      show();
    };
    return {element, update};
  };

  function item(name, value, changed) {
    const box = L.h("input", {type: "checkbox", value, change: changed});
    const shown = L.h("span", {class: "count"});
    return {value, box, shown, count: 0, element: L.h("label", {class: "tick"}, box, L.h("span", {class: "word"}, value), shown)};
  }

  function ordered(name, pairs) {
    if (name === "round") return pairs.sort(([a], [b]) => (L.data.order.get(b) ?? -1) - (L.data.order.get(a) ?? -1));
    if (name === "chips" || name === "nodes") return pairs.sort(([a], [b]) => (Number(a) || Infinity) - (Number(b) || Infinity));
    if (name === "benchmark" || name === "submitter") return pairs.sort(([a], [b]) => a.localeCompare(b, "en", {sensitivity: "base"}));
    return pairs.sort(([, a], [, b]) => b - a);
  }

  // A range over the values that occur. changed([low, high]) or changed(null) for everything.
  L.range = (name, label, rows, changed) => {
    const values = [...new Set(rows.map((row) => row[name]).filter((value) => typeof value === "number"))].sort((a, b) => a - b);
    const last = Math.max(0, values.length - 1);
    const slider = (words) => L.h("input", {type: "range", min: 0, max: last, step: 1, "aria-label": `${words} of ${label}`});
    const [low, high] = [slider("Least"), slider("Most")];
    const box = (words) => L.h("input", {type: "number", min: 0, step: "any", "aria-label": `${words} of ${label}, as a number`});
    const [least, most] = [box("Least"), box("Most")];
    const told = () => {
      const [a, b] = [Math.min(+low.value, +high.value), Math.max(+low.value, +high.value)];
      changed(a === 0 && b === last ? null : [a === 0 ? null : values[a], b === last ? null : values[b]]);
    };
    const typed = () => {
      const read = (input) => input.value === "" || !Number.isFinite(+input.value) ? null : +input.value;
      const of = [read(least), read(most)];
      changed(of[0] === null && of[1] === null ? null : of);
    };
    for (const one of [low, high]) {
      one.addEventListener("input", told);
      one.addEventListener("change", told);
    }
    for (const one of [least, most]) one.addEventListener("change", typed);
    const element = L.h("fieldset", {class: "range", "data-range": name}, L.h("legend", null, label),
      L.h("div", {class: "handles"}, low, high), L.h("div", {class: "ends"}, least, L.h("span", null, "to"), most));

    const update = (of) => {
      const [a, b] = of || [null, null];
      low.value = a === null ? 0 : nearest(values, a);
      high.value = b === null ? last : nearest(values, b);
      for (const [input, value, end] of [[least, a, values[0]], [most, b, values[last]]]) {
        if (document.activeElement !== input) input.value = value ?? "";
        input.placeholder = end === undefined ? "" : L.number(end);
      }
    };
    return {element, update};
  };

  function nearest(values, wanted) {
    const at = values.findIndex((value) => value >= wanted);
    return at < 0 ? values.length - 1 : at;
  }
})(window.Laptime = window.Laptime || {});
