"use strict";
// The data: columns decoded into rows, and the files that are loaded when somebody asks for them.
(function (L) {
  const waiting = new Map();
  const held = new Map();
  let version = "";

  L.views = {};

  // Called by every data file.
  L.receive = (kind, key, value) => {
    if (kind === "index") { L.data = decoded(value); if (L.refreshed) L.refreshed(); return; }
    const place = `${kind}/${key}`;
    held.set(place, value);
  };

  // The value of a data file: loaded by a script tag, because pages from disk may not fetch.
  L.load = (kind, key) => {
    const place = `${kind}/${key}`;
    if (held.has(place)) return Promise.resolve(held.get(place));
    if (!waiting.has(place)) {
      waiting.set(place, script(kind === "questions" ? "data/questions.js" : `data/${place}.js`).then(() => {
        waiting.delete(place);
        if (!held.has(place)) throw new Error(`${place} holds no data`);
        return held.get(place);
      }, (problem) => { waiting.delete(place); throw problem; }));
    }
    return waiting.get(place);
  };

  // Forget what was loaded and take the index of `now`: the store has changed behind a served page.
  L.renew = (now) => {
    version = now;
    held.clear();
    return script("data/index.js");
  };

  function script(source) {
    return new Promise((done, failed) => {
      const tag = document.createElement("script");
      tag.src = version ? `${source}?v=${encodeURIComponent(version)}` : source;
      tag.onload = () => { tag.remove(); done(); };
      tag.onerror = () => { tag.remove(); failed(new Error(`${source} cannot be read`)); };
      document.head.append(tag);
    });
  }

  function decoded(value) {
    const names = Object.keys(value.results);
    const lists = names.map((name) => column(value.results[name]));
    const count = lists[0].length;
    const rows = new Array(count);
    for (let at = 0; at < count; at++) {
      const row = {at};
      for (let place = 0; place < names.length; place++) row[names[place]] = lists[place][at];
      row.id = row.entry.toString(16);
      rows[at] = row;
    }
    const rounds = new Map(value.rounds.map((one) => [one.name, one]));
    const benchmarks = new Map();
    for (const one of value.benchmarks) benchmarks.set(`${one.round}/${one.name}`, one);
    for (const row of rows) complete(row, rounds, benchmarks);
    const order = new Map(value.rounds.map((one, at) => [one.name, at]));
    return {
      made: value.made, version: value.version, rows, rounds: value.rounds, order, benchmarks, targets: value.targets, files: value.files,
      byId: new Map(rows.map((row) => [row.id, row])), names: Object.keys(value.files),
    };
  }

  function column(coded) {
    if (coded.values) return coded.values;
    return coded.codes.map((code) => code < 0 ? null : coded.words[code]);
  }

  function complete(row, rounds, benchmarks) {
    const round = rounds.get(row.round), asked = benchmarks.get(`${row.round}/${row.benchmark}`);
    row.roundAt = round ? round.number : Infinity;
    row.round = row.round || "unknown";
    row.official = Boolean(round && round.kind === "official");
    row.title = asked ? asked.title : "";
    row.model = asked ? asked.model : "";
    row.area = asked ? asked.area : "";
    row.seek = [row.round, row.division, row.availability, row.submitter, row.system, row.system_name, row.framework,
      row.processor, row.accelerator, row.benchmark, row.title, row.model, row.area, row.label].join("\n").toLowerCase();
  }

  // "resnet · Image classification"
  L.titled = (name) => {
    const found = L.data.rows.find((row) => row.benchmark === name && row.title);
    return found ? `${name} · ${found.title}` : name;
  };
  L.asked = (round, benchmark) => L.data.benchmarks.get(`${round}/${benchmark}`);
  L.roundsOf = (benchmark) => L.data.rounds.filter((round) => L.data.rows.some((row) => row.round === round.name
    && row.benchmark === benchmark)).map((round) => round.name);
  L.named = (row) => `${row.submitter}, ${row.system_name}`;
  L.chipsOf = (row) => row.chips === null ? "?" : `${row.chips} × ${row.accelerators ? row.accelerator || "accelerator" : row.processor || "processor"}`;
})(window.Laptime = window.Laptime || {});
