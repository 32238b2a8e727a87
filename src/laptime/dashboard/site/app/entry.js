"use strict";
// The page of one result: its numbers, the curves of its runs with the target, time structure, hyperparameters beside the
// reference, seeds, findings, system.
(function (L) {
  const SEVERITY = {error: "bad", warning: "", note: "soft"};

  function build(root, address) {
    const row = L.data.byId.get(address.part);
    if (!row) {
      L.put(root, L.h("h1", null, "This result is not in the store"), L.h("p", null, L.h("a", {href: "#/results"}, "All results")));
      return;
    }
    const again = root.dataset.entry === row.id && root.querySelector(".runs");  // drawn anew because the store has changed
    const more = again || L.h("div", {class: "runs"}, L.h("p", {class: "wait"}, "Loading its runs."));
    root.dataset.entry = row.id;
    const pinned = () => L.pins.includes(row.id);
    const pin = L.h("button", {type: "button", click: () => { L.pin(row.id, !pinned()); pin.textContent = words(); }});
    const words = () => pinned() ? "Take out of the comparison" : "Pin to compare";
    pin.textContent = words();
    L.put(root, L.h("h1", null, `${row.benchmark} · ${row.submitter} · ${row.round}`),
      L.h("p", {class: "soft"}, [row.title, row.model, row.division, row.availability, row.system_name].filter(Boolean).join(" · ")),
      figures(row), L.h("div", {class: "choices"}, pin, L.h("a", {href: L.address("benchmark", row.benchmark, {round: row.round})}, `All of ${row.benchmark} in ${row.round}`),
        L.sourceOf(row) ? L.h("a", {href: L.sourceOf(row), rel: "noreferrer noopener"}, "Its logs, as published") : null), more);
    L.load("entry", row.id).then((found) => fill(more, row, found), () => L.put(more, L.h("p", null, "Its data cannot be read: data/entry is incomplete.")));
  }

  function figures(row) {
    const asked = L.asked(row.round, row.benchmark);
    const one = (value, words) => L.h("div", null, L.h("b", null, value), L.h("span", null, words));
    return [L.h("div", {class: "figures"},
      one(L.minutes(row.minutes), row.minutes === null ? "no score" : "minutes, unverified"),
      one(L.number(row.chips, 6), L.chipsOf(row).replace(/^\S+ × /, "")), one(L.number(row.chip_minutes), "chip-minutes (derived)"),
      one(`${row.converged ?? 0}/${row.runs ?? 0}`, "runs converged"), one(L.percent(row.spread), "spread of the runs"),
      one(L.number(row.convergence), `${row.unit || ""} needed`), one(L.number(row.batch_size, 6), "batch size"),
      row.rcp_margin !== null ? one(L.number(row.rcp_margin), "times the least that passes") : null,
      row.factor !== null && row.factor !== 1 ? one(`× ${L.number(row.factor, 5)}`, "factor on the time") : null,
      row.published_minutes !== null && row.published_minutes !== undefined ? one(L.minutes(row.published_minutes), "minutes as published") : null),
    L.h("p", {class: "soft"}, asked ? `Target: ${L.askedText(asked)}. ` : "", row.rcp_verdict ? `Convergence check: ${row.rcp_passed === 0 ? "not passed, " : ""}${row.rcp_verdict}. ` : "",
      row.uncertainty ? `Published times of this benchmark are known to about ±${L.percent(row.uncertainty)}.` : "")];
  }

  function fill(box, row, more) {
    L.put(box, curves(row, more), L.timesFigure(more), L.h("h2", null, "Runs"), L.runsTable(row, more),
      more.bootstrap[0] !== null ? L.h("p", {class: "soft"}, `Bootstrap over all runs: 95 % of the mean between ${L.minutes(more.bootstrap[0])} and ${L.minutes(more.bootstrap[1])} minutes, before any factor.`) : null,
      L.h("h2", null, "Hyperparameters"), settings(row, more), L.h("h2", null, "Findings"), findings(more),
      L.h("h2", null, "System description"), L.systemFacts(more.system),
      L.h("p", {class: "soft"}, `Read from ${row.file}${more.description ? ` and ${more.description}` : ""}.`));
  }

  function curves(row, more) {
    const metrics = [...new Set(more.runs.flatMap((run) => Object.keys(run.curves)))];
    const charts = L.h("div", {class: metrics.length > 1 ? "grid-of-charts" : ""});
    let by = "x";
    const draw = () => L.put(charts, metrics.map((metric) => curve(row, more, metric, by)));
    const choice = L.select("Against", [["x", row.unit || "position"], ["t", "minutes"]], "x", (value) => { by = value; draw(); });
    draw();
    return [L.h("h2", null, "Curves"), L.h("div", {class: "choices"}, choice), charts];
  }

  function curve(row, more, metric, by) {
    const runs = more.runs.filter((run) => run.curves[metric]);
    const targets = L.data.targets.filter((one) => one.round === row.round && one.benchmark === row.benchmark && one.metric === metric);
    const lines = targets.flatMap((one) => [[one.low, "target: at least"], [one.high, "target: at most"]].filter(([value]) => value !== null)
      .map(([value, words]) => ({y: value, text: `${words} ${L.number(value)}`})));
    const points = (run) => {
      const {x, y, t} = run.curves[metric], at = by === "x" ? x : t;
      return y.map((value, place) => ({x: at[place], y: value, label: [`run ${run.number}, ${run.status}`]})).filter((point) => point.x !== null);
    };
    const near = nearTarget(runs.flatMap((run) => run.curves[metric].y), targets);
    return L.chart({title: `${metric}: ${L.plural(runs.length, "run")}`, text: near ? "The axis leaves out what lies far from the target." : "The dot marks where a run met the target.", bareTable: true,
      x: {label: by === "x" ? row.unit || "position" : "minutes"}, y: {label: metric, ...near}, lines,
      series: runs.flatMap((run) => {
        const all = points(run), met = run.curves[metric].met, grey = run.status !== "converged", at = grey ? 6 : run.number % 6;
        const shown = near ? all.filter((point) => (near.low === undefined || point.y >= near.low) && (near.high === undefined || point.y <= near.high)) : all;
        const end = met !== null && shown.includes(all[met]) ? [{...all[met]}] : [];
        return [{name: `run ${run.number}`, at, points: shown, line: true, bare: true, faint: true, dashed: grey}, {name: `run ${run.number} met the target`, at, shape: 0, points: end, silent: true}];
      })});
  }

  // Bounds of the axis where a few early values would flatten everything else.
  function nearTarget(values, targets) {
    const high = targets.map((one) => one.high).find((value) => value !== null && value > 0);
    if (high === undefined || high === null || Math.max(...values) < 5 * high) return null;
    return {high: 3 * high};
  }

  function settings(row, more) {
    const reference = more.reference;
    const wanted = reference ? reference.values : {}, seen = new Set();
    const rows = more.settings.filter((one) => one.asked).map((one) => {
      seen.add(one.name);
      const other = wanted[one.name] ?? wanted[one.key];
      return [one.name, one.value, other ?? "–", other !== undefined && !alike(one.value, other) ? L.h("span", {class: "flag"}, "differs") : "", one.runs < more.runs.length ? `${one.runs} of ${more.runs.length} runs` : ""];
    });
    for (const [name, value] of Object.entries(wanted)) if (!seen.has(name) && !more.settings.some((one) => one.key === name || one.name === name)) rows.push([name, "not logged", value, "", ""]);
    const others = more.settings.filter((one) => !one.asked).map((one) => [one.name, one.value, one.runs < more.runs.length ? `${one.runs} of ${more.runs.length} runs` : ""]);
    return [L.h("p", {class: "soft"}, reference ? `Beside the reference point ${reference.name}, whose batch size ${L.number(reference.batch_size, 6)} is nearest to this one's (${L.number(row.batch_size, 6)}).` : "There is no reference point to set beside them."),
      rows.length ? L.table("Hyperparameters asked for by the rules", [["Name"], ["Logged"], ["Reference"], [""], ["Logged by"]], rows) : L.h("p", null, "None were logged."),
      others.length ? L.h("details", {class: "numbers"}, L.h("summary", null, `${others.length} other values`), L.table("Logged beside them", [["Name"], ["Value"], ["Logged by"]], others)) : null];
  }

  function alike(logged, wanted) {
    const plain = String(logged).replace(/^"|"$/g, "").toLowerCase(), other = String(wanted).toLowerCase();
    return plain === other || (plain !== "" && other !== "" && Math.abs(Number(plain) - Number(other)) <= 1e-9 * Math.abs(Number(other)));
  }

  function findings(more) {
    const rows = more.findings.map((one) => [L.h("span", {class: SEVERITY[one.severity]}, one.severity), one.rule, one.message, one.times > 1 ? `${one.times} times` : "once", `${one.file}${one.line ? `:${one.line}` : ""}`]);
    for (const one of more.submission) rows.push([L.h("span", {class: SEVERITY[one.severity]}, one.severity), one.rule, `Submission as a whole: ${one.message}`, one.times > 1 ? `${one.times} times` : "once", one.file]);
    if (!rows.length) return L.h("p", null, "The judge has nothing to say against these logs.");
    return [L.table("What the judge of this program found; the official review is another one", [["Severity"], ["Rule"], ["Finding"], ["How often"], ["First place"]], rows),
      more.more_findings ? L.h("p", {class: "soft"}, "There are more: laptime check tells all of them.") : null];
  }

  L.views.entry = {title: "Result", build};
})(window.Laptime = window.Laptime || {});
