"use strict";
// What leaves the page: CSV, JSON, tab-separated text for the clipboard. A text that a spreadsheet would compute gets an
// apostrophe before it, as in the files that the command line writes.
(function (L) {
  const FORMULA = /^(?:[\s\0]*[=+\-@\uff0b\uff0d\uff1d\uff20]|[\t\r\n])/;
  const UNSEEN = /(?! )[\p{C}\p{Z}]/gu;  // what nobody sees, or a terminal obeys
  const escaped = (sign) => {
    const code = sign.codePointAt(0), short = {9: "\\t", 13: "\\r"}[code];
    return short || (code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : code < 65536 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`);
  };

  L.unformulated = (value) => {
    if (typeof value !== "string") return value;
    const text = value.replace(/\r/g, "\n").replace(UNSEEN, (sign) => sign === "\n" ? sign : escaped(sign));
    return FORMULA.test(value) ? `'${text}` : text;
  };
  const quoted = (value) => {
    if (value === null || value === undefined) return "";
    const text = String(L.unformulated(value));
    return /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };

  L.csv = (columns, rows) => [columns, ...rows].map((row) => row.map(quoted).join(",")).join("\n") + "\n";
  L.tabs = (columns, rows) => [columns, ...rows].map((row) => row.map((value) =>
    value === null || value === undefined ? "" : String(L.unformulated(value)).replace(/[\t\n]/g, " ")).join("\t")).join("\n") + "\n";
  L.json = (columns, rows) => JSON.stringify(rows.map((row) => Object.fromEntries(columns.map((name, at) => [name, row[at] ?? null]))), null, 2)
    .replace(UNSEEN, (sign) => sign === "\n" ? sign : [...Array(sign.length).keys()].map((at) => `\\u${sign.charCodeAt(at).toString(16).padStart(4, "0")}`).join("")) + "\n";

  L.save = (name, text, type) => {
    const address = URL.createObjectURL(new Blob([text], {type}));
    const link = L.h("a", {href: address, download: name});
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  };

  L.copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // pages from disk may have no clipboard of their own
      const box = L.h("textarea", {class: "hidden", "aria-hidden": "true"});
      box.value = text;
      document.body.append(box);
      box.select();
      document.execCommand("copy");
      box.remove();
    }
  };

  // Buttons for a table. what(): {name, columns, rows}
  L.shareButtons = (what) => {
    const told = (words) => (count) => L.say(`${words} ${L.plural(count, "row")}.`);
    const act = (say, give) => () => { const {name, columns, rows} = what(); give(name, columns, rows); say(rows.length); };
    return L.h("div", {class: "share", role: "group", "aria-label": "Take these rows along"},
      L.h("button", {type: "button", click: act(told("Copied"), (_, columns, rows) => L.copy(L.tabs(columns, rows)))}, "Copy"),
      L.h("button", {type: "button", "data-export": "csv", click: act(told("Saved as CSV:"), (name, columns, rows) => L.save(`${name}.csv`, L.csv(columns, rows), "text/csv"))}, "CSV"),
      L.h("button", {type: "button", "data-export": "json", click: act(told("Saved as JSON:"), (name, columns, rows) => L.save(`${name}.json`, L.json(columns, rows), "application/json"))}, "JSON"));
  };
})(window.Laptime = window.Laptime || {});
