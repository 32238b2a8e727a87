"use strict";
// The columns of the table of results, and sets of them for one click.
(function (L) {
  const text = (key, head, hint) => ({key, head, hint, cell: (row) => row[key] ?? ""});
  const count = (key, head, hint) => ({key, head, hint, numeric: true, cell: (row) => L.number(row[key], 6)});
  const time = (key, head, hint) => ({key, head, hint, numeric: true, cell: (row) => L.minutes(row[key])});
  const share = (key, head, hint) => ({key, head, hint, numeric: true, cell: (row) => L.percent(row[key])});

  L.COLUMNS = [
    text("submitter", "Submitter"),
    text("round", "Round"),
    text("benchmark", "Benchmark"),
    {...time("minutes", "Minutes", "The score: mean of the runs that count, times the factor of the convergence check. The bar: how close to the fastest shown of its benchmark."), bar: true},
    count("chips", "Chips", "Accelerators of the whole system; processors where there are none."),
    text("accelerator", "Accelerator"),
    text("system_name", "System"),
    text("division", "Division"),
    text("availability", "Availability"),
    {...count("chip_minutes", "Chip-minutes", "Minutes times chips: what the result cost in hardware time. Derived, not an official metric."), cell: (row) => L.number(row.chip_minutes)},
    {...count("node_minutes", "Node-minutes", "Minutes times nodes. Derived, not an official metric."), cell: (row) => L.number(row.node_minutes)},
    count("nodes", "Nodes"),
    count("accelerators", "Accelerators"),
    text("processor", "Processor"),
    count("processors", "Processors"),
    text("framework", "Framework"),
    {key: "runs", head: "Runs", numeric: true, hint: "Converged of all.", cell: (row) => `${row.converged ?? 0}/${row.runs ?? 0}`},
    time("fastest_run", "Fastest run"),
    time("slowest_run", "Slowest run"),
    share("spread", "Spread", "Slowest minus fastest run, over the mean."),
    time("init_minutes", "Initialisation", "Minutes before the clock starts, mean of the runs."),
    count("batch_size", "Batch size"),
    {...count("convergence", "Needed", "Epochs, samples or tokens to the target, mean of the runs that count."), cell: (row) => L.number(row.convergence)},
    text("unit", "Unit"),
    {...count("rcp_margin", "To the bound", "What was needed over the least that the convergence check accepts; 1 is the bound."), cell: (row) => L.number(row.rcp_margin)},
    {...count("factor", "Factor", "The time was multiplied by this: convergence was faster than the reference allows."), cell: (row) => L.number(row.factor)},
    text("rcp_verdict", "Convergence check"),
    {...count("joules", "Joules", "From power readings, where there are any."), cell: (row) => L.number(row.joules)},
    count("errors", "Errors", "What the judge of this program holds against the logs."),
    count("warnings", "Warnings"),
    text("model", "Model"),
    text("label", "Label"),
    text("file", "Folder"),
  ];
  L.columnOf = new Map(L.COLUMNS.map((one) => [one.key, one]));
  L.COLUMN_SETS = {
    "Overview": ["submitter", "round", "benchmark", "minutes", "chips", "accelerator", "system_name", "chip_minutes", "runs"],
    "Hardware": ["submitter", "round", "benchmark", "minutes", "nodes", "chips", "accelerator", "processors", "processor", "framework"],
    "Efficiency": ["submitter", "round", "benchmark", "minutes", "chips", "chip_minutes", "node_minutes", "accelerator", "joules"],
    "Convergence": ["submitter", "round", "benchmark", "minutes", "batch_size", "convergence", "unit", "rcp_margin", "factor", "rcp_verdict"],
    "Reliability": ["submitter", "round", "benchmark", "minutes", "runs", "fastest_run", "slowest_run", "spread", "init_minutes", "errors", "warnings"],
    "Public table": ["submitter", "round", "system_name", "framework", "processor", "processors", "accelerator", "accelerators", "benchmark", "minutes", "division", "availability"],
  };
  const PHONE = ["submitter", "minutes", "chips", "benchmark", "round", "accelerator", "system_name", "chip_minutes", "runs"];
  L.DEFAULT_COLUMNS = window.matchMedia("(max-width: 40rem)").matches ? PHONE : L.COLUMN_SETS.Overview;

  // One click for what readers ask most; a function of the data gives the choice.
  const newest = () => L.data.rounds.filter((round) => round.kind === "official").slice(-1).map((round) => round.name);
  L.PRESETS = [
    ["Newest round", () => ({facets: {round: newest()}})],
    ["Records", () => ({best: "benchmark"}), "The fastest of each benchmark version and division"],
    ["Best per submitter", () => ({best: "submitter"})],
    ["Best per accelerator", () => ({best: "accelerator"})],
    ["Best at each scale", () => ({best: "chips", sort: [["benchmark", 1], ["chips", 1]]})],
    ["One node", () => ({facets: {nodes: ["1"]}})],
    ["Largest systems", () => ({sort: [["chips", -1], ["minutes", 1]]})],
    ["Least hardware time", () => ({sort: [["benchmark", 1], ["chip_minutes", 1]], columns: L.COLUMN_SETS.Efficiency})],
    ["Open division", () => ({facets: {division: ["open"]}})],
    ["Cloud", () => ({q: "availability:cloud"})],
    ["Without accelerators", () => ({q: "accelerators<1"})],
    ["Close to the bound", () => ({sort: [["rcp_margin", 1]], columns: L.COLUMN_SETS.Convergence})],
  ];
})(window.Laptime = window.Laptime || {});
