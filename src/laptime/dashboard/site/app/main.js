"use strict";
// Which view the address names, what follows the reader through all of them (pins, theme, keys), and the live page.
(function (L) {
  const NAV = [["results", "Results"], ["questions", "Questions"], ["benchmark", "Benchmarks"], ["trends", "Trends"],
    ["rcp", "Reference points"], ["compare", "Compare"], ["coverage", "Coverage"], ["help", "How to read this"]];
  const POLL_MS = 2000;
  L.MOST_PINS = 6;
  L.pins = [];
  let current = null;

  // Move to an address. replace: no new step in the history; quiet: the view has drawn it already.
  L.go = (address, replace, quiet) => {
    if (address !== location.hash) {
      try {
        history[replace ? "replaceState" : "pushState"](null, "", address);
      } catch { location.hash = address; return; }
    }
    if (!quiet) route();
  };

  function route(force) {
    const address = L.readAddress(location.hash), view = L.views[address.view] || L.views.results;
    const root = document.getElementById("main"), key = `${L.views[address.view] ? address.view : "results"}/${view.update ? "" : location.hash}`;
    L.hideCard();
    if (!view.update || current !== key || force) {
      current = key;
      view.build(root, address);
      document.title = `${view.title} · Results of time-to-train benchmarks`;
      for (const link of document.querySelectorAll("#views a")) {
        link.toggleAttribute("aria-current", link.dataset.view === address.view || (!L.views[address.view] && link.dataset.view === "results"));
        if (link.hasAttribute("aria-current")) {
          link.setAttribute("aria-current", "page");
          link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.offsetLeft - 40;
        }
      }
      if (!force) window.scrollTo(0, 0);
    }
    if (view.update) view.update(address);
    L.drawPins();
  }

  L.pin = (id, wanted) => {
    if (wanted && L.pins.length >= L.MOST_PINS) L.say(`At most ${L.MOST_PINS} results can be compared.`);
    else L.pins = wanted ? [...L.pins.filter((one) => one !== id), id] : L.pins.filter((one) => one !== id);
    if (current && current.startsWith("results/")) L.views.results.pinned();
    L.drawPins();
  };

  L.drawPins = () => {
    const tray = document.getElementById("tray"), rows = L.pins.map((id) => L.data.byId.get(id)).filter(Boolean);
    tray.hidden = !rows.length || (current || "").startsWith("compare/");
    L.put(tray, rows.map((row) => L.h("span", {class: "pinned"}, `${row.submitter} ${row.benchmark} ${row.round}`,
      L.h("button", {type: "button", class: "plain", "aria-label": `Take ${L.named(row)} out`, click: () => L.pin(row.id, false)}, "×"))),
      L.h("a", {class: "button", id: "compare", href: L.address("compare", "", {ids: L.pins})}, rows.length > 1 ? `Compare ${rows.length}` : "Pin another to compare"));
  };

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox]), select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const act = {
      "/": () => { if (!document.getElementById("search")) L.go("#/results"); document.getElementById("search").focus(); },
      "c": () => L.pins.length && L.go(L.address("compare", "", {ids: L.pins})),
      "e": () => document.querySelector("[data-export=csv]")?.click(),
      "?": () => L.go("#/help"),
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  }

  function theme() {
    const button = document.getElementById("theme"), system = window.matchMedia("(prefers-color-scheme: dark)");
    const kept = () => { try { return localStorage.getItem("laptime-theme"); } catch { return null; } };
    const set = (name) => { document.documentElement.dataset.theme = name; button.textContent = name === "dark" ? "Light" : "Dark"; };
    set(kept() || (system.matches ? "dark" : "light"));
    system.addEventListener("change", () => { if (!kept()) set(system.matches ? "dark" : "light"); });
    button.addEventListener("click", () => {
      set(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
      try { localStorage.setItem("laptime-theme", document.documentElement.dataset.theme); } catch { /* not kept, then */ }
    });
  }

  // A served page asks whether the store has changed. A page from disk is as it was written.
  async function watch(version) {
    let next = version;
    try {
      const answer = await fetch("data/version.json", {cache: "no-store"});
      if (answer.ok) next = (await answer.json()).version;
      if (next !== version) await L.renew(next);
      document.documentElement.classList.remove("stopped");
    } catch { document.documentElement.classList.add("stopped"); }
    setTimeout(watch, POLL_MS, next);
  }

  function foot() {
    const rounds = L.data.rounds.filter((one) => one.kind === "official").map((one) => one.name).join(", ");
    L.put(document.getElementById("foot"),
      L.h("p", null, `Results of the rounds ${rounds || "(none)"} of MLPerf® Training, closed and open divisions as each row says, judged again from their published logs; `
        + `store of ${L.data.made}. Results not verified by MLCommons Association. Derived numbers (per chip, speed-up, efficiency) are not official metrics.`),
      L.h("p", null, "The MLPerf name and logo are registered and unregistered trademarks of MLCommons Association in the United States and other countries. All rights reserved. "
        + "Unauthorized use strictly prohibited. See www.mlcommons.org for more information."));
  }

  // The store has changed: draw again, and leave the reader where they were.
  function refreshed() {
    const held = document.activeElement?.id, top = window.scrollY, region = document.querySelector(".wide.tall")?.scrollTop;
    foot();
    route(true);
    if (held) document.getElementById(held)?.focus({preventScroll: true});
    window.scrollTo(0, top);
    if (region) document.querySelector(".wide.tall").scrollTop = region;
    L.say("The results have changed.");
  }

  L.start = () => {
    theme();
    L.put(document.getElementById("views"), NAV.map(([name, words]) => L.h("a", {href: `#/${name}`, "data-view": name}, words)));
    document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); document.getElementById("main").focus(); });
    if (!L.data) {
      L.put(document.getElementById("main"), L.h("p", null, "data/index.js is missing: export the site again."));
      return;
    }
    foot();
    window.addEventListener("hashchange", () => route());
    window.addEventListener("beforeprint", () => current && current.startsWith("results/") && L.views.results.wholly());
    document.addEventListener("keydown", keys);
    L.refreshed = refreshed;
    route();
    L.firstPaint = performance.now();
    if (location.protocol.startsWith("http")) watch(L.data.version);
  };
  L.start();
})(window.Laptime = window.Laptime || {});
