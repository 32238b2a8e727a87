"use strict";
// Elements, numbers, addresses. Texts of submissions become text nodes and attribute values, never markup; link targets
// are pages of this site or http(s), nothing else.
(function (L) {
  const SVG = "http://www.w3.org/2000/svg";
  const LINK = /^(?:#|https?:\/\/|blob:)/i;

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (typeof value === "function") element.addEventListener(name, value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== null && value !== undefined && value !== false
               && (name !== "href" || LINK.test(String(value)))) element.setAttribute(name, String(value));
    }
    add(element, children);
    return element;
  }

  function add(element, children) {
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      element.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
  }

  // h("a", {href: "#/help", click: f}, "text", node, [more]): an element; functions are listeners.
  L.h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  L.s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
  L.put = (element, ...children) => { element.replaceChildren(); add(element, children); return element; };

  L.say = (text) => { document.getElementById("status").textContent = text; };

  // Numbers with no more digits than a reader compares.
  L.number = (value, digits = 4) => {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    if (size !== 0 && size < 1e-3) return value.toExponential(2);
    const places = size === 0 ? 0 : Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
    return value.toLocaleString("en-US", {maximumFractionDigits: Math.min(places, 6), useGrouping: size >= 1e4});
  };
  L.minutes = (value) => {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    const places = Math.abs(value) < 10 ? 3 : 2;
    return value.toLocaleString("en-US", {minimumFractionDigits: places, maximumFractionDigits: places});
  };
  L.percent = (value, places = 1) => Number.isFinite(value) && value !== null ? `${(100 * value).toFixed(places)} %` : "–";
  L.plural = (count, one, many) => `${count.toLocaleString("en-US")} ${count === 1 ? one : many || one + "s"}`;

  // The address of a view: #/name/part?key=a,b&other=c; every value a list of texts.
  L.readAddress = (hash) => {
    const [path, query] = hash.replace(/^#\/?/, "").split("?", 2);
    const decode = (text) => { try { return decodeURIComponent(text.replace(/\+/g, " ")); } catch { return ""; } };
    const parts = path.split("/").map(decode);
    const values = new Map();
    for (const pair of (query || "").split("&")) {
      const at = pair.indexOf("=");
      if (at > 0) values.set(decode(pair.slice(0, at)), pair.slice(at + 1).split(",").map(decode));
    }
    return {view: parts[0] || "results", part: parts.slice(1).join("/"), values};
  };
  L.address = (view, part, values) => {
    const code = (text) => encodeURIComponent(text).replace(/%20/g, "+").replace(/%3A/gi, ":");
    const pairs = Object.entries(values || {})
      .map(([name, list]) => [name, (Array.isArray(list) ? list : [list]).filter((one) => one !== "" && one !== null && one !== undefined)])
      .filter(([, list]) => list.length)
      .map(([name, list]) => `${code(name)}=${list.map((one) => code(String(one))).join(",")}`);
    return `#/${view}${part ? "/" + code(part) : ""}${pairs.length ? "?" + pairs.join("&") : ""}`;
  };

  // A labelled choice. options: [value, words].
  L.select = (label, options, value, changed, attributes) => {
    const box = L.h("select", {...attributes, change: () => changed(box.value)},
      options.map(([one, words]) => L.h("option", {value: one, selected: one === value}, words)));
    return L.h("label", {class: "field"}, L.h("span", null, label), box);
  };
  L.check = (label, checked, changed, attributes) => {
    const box = L.h("input", {type: "checkbox", ...attributes, change: () => changed(box.checked)});
    box.checked = checked;
    return L.h("label", {class: "tick"}, box, L.h("span", null, label));
  };

  // A table that scrolls by itself where it is too wide. heads: [words, numeric]; rows: lists of cells.
  L.table = (caption, heads, rows, attributes) => L.h("div", {class: "wide", tabindex: 0, role: "region", "aria-label": caption},
    L.h("table", attributes, L.h("caption", null, caption),
      L.h("thead", null, L.h("tr", null, heads.map(([words, numeric]) => L.h("th", {scope: "col", class: numeric ? "n" : null}, words)))),
      L.h("tbody", null, rows.map((row) => L.h("tr", null, row.map((cell, at) => at === 0
        ? L.h("th", {scope: "row", class: heads[at][1] ? "n" : null}, cell)
        : L.h("td", {class: heads[at][1] ? "n" : null}, cell)))))));
})(window.Laptime = window.Laptime || {});
