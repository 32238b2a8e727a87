-- What follows from the tables by arithmetic. Dropped and made again at every ingest: a corrected view changes no data.

CREATE VIEW runs AS
SELECT run.*, (stop_ms - start_ms) / 60000.0 AS minutes, init_ms / 60000.0 AS init_minutes,
       training_ms / 60000.0 AS training_minutes, evaluation_ms / 60000.0 AS evaluation_minutes,
       rest_ms / 60000.0 AS rest_minutes
FROM run;

CREATE VIEW curves AS
SELECT evaluation.*, (evaluation.time_ms - run.start_ms) / 60000.0 AS minutes
FROM evaluation JOIN run ON run.entry = evaluation.entry AND run.number = evaluation.run;

-- measured_minutes: mean of the runs that count; factor: the published one, else, in rounds that normalise, that of the
-- convergence check;
-- minutes: the score; chips: accelerators, processors where there are none; minutes_low, minutes_high: 95 % interval of
-- the score by Student's t on the runs that count; variation: their deviation over their mean.
CREATE VIEW results AS
WITH timed AS (
    SELECT entry, count(*) AS runs, sum(status = 'converged') AS converged, sum(counts = 'kept') AS kept,
           avg(CASE WHEN counts = 'kept' THEN minutes END) AS measured_minutes,
           min(CASE WHEN status = 'converged' THEN minutes END) AS fastest_run,
           max(CASE WHEN status = 'converged' THEN minutes END) AS slowest_run,
           avg(init_minutes) AS init_minutes,
           CASE WHEN sum(counts = 'kept') = sum(counts = 'kept' AND joules IS NOT NULL)
                THEN avg(CASE WHEN counts = 'kept' THEN joules END) END AS joules
    FROM runs GROUP BY entry),
told AS (
    SELECT entry, sum(severity = 'error') AS errors, sum(severity = 'warning') AS warnings FROM finding GROUP BY entry),
counted AS (
    SELECT id, coalesce(nullif(accelerators, 0), processors) AS chips FROM system),
factors AS (
    SELECT score.entry, coalesce(published_factor, CASE WHEN round.normalised THEN computed_factor END, 1.0) AS factor
    FROM score JOIN entry ON entry.id = score.entry LEFT JOIN round ON round.name = entry.round)
SELECT entry.id AS entry, entry.round, round.number AS round_number, round.kind AS round_kind, entry.label,
       entry.division, coalesce(system.category, system.status) AS availability, entry.submitter,
       system.name AS system, coalesce(system.title, system.name) AS system_name, system.framework,
       system.nodes, system.processor, system.processors, system.accelerator, system.accelerators, counted.chips,
       entry.benchmark, entry.log_name, benchmark.title, benchmark.area, benchmark.dataset, benchmark.model,
       benchmark.comparable_since,
       measured_minutes, CASE WHEN scored THEN factor END AS factor, measured_minutes * factor AS minutes,
       measured_minutes * factor * counted.chips AS chip_minutes,
       measured_minutes * factor * system.nodes AS node_minutes,
       timed.runs, converged, kept, fastest_run, slowest_run,
       (slowest_run - fastest_run) / measured_minutes AS spread, init_minutes,
       batch_size, benchmark.unit, submission_mean AS convergence, samples_to_converge, passed AS rcp_passed,
       verdict AS rcp_verdict, reference_mean AS rcp_mean, reference_deviation AS rcp_deviation,
       minimum_mean AS rcp_minimum, submission_mean / minimum_mean AS rcp_margin, uncertainty, joules * factor AS joules,
       publishable, coalesce(errors, 0) AS errors, coalesce(warnings, 0) AS warnings,
       system.hw_notes, system.sw_notes, system.file AS description, entry.file,
       score.low * factor AS minutes_low, score.high * factor AS minutes_high,
       score.bootstrap_low * factor AS bootstrap_low, score.bootstrap_high * factor AS bootstrap_high,
       score.deviation / measured_minutes AS variation,
       published.minutes AS published_minutes, measured_minutes * factor - published.minutes AS published_difference
FROM entry
JOIN system ON system.id = entry.system
JOIN counted ON counted.id = entry.system
JOIN score ON score.entry = entry.id
JOIN factors ON factors.entry = entry.id
LEFT JOIN timed ON timed.entry = entry.id
LEFT JOIN told ON told.entry = entry.id
LEFT JOIN round ON round.name = entry.round
LEFT JOIN benchmark ON benchmark.round = entry.round AND benchmark.name = entry.benchmark
LEFT JOIN published ON published.round = entry.round AND published.submitter = entry.submitter
      AND published.system = system.name AND published.log_name = entry.log_name;

-- The fastest result of each benchmark at each number of chips, per round and division.
CREATE VIEW fastest AS
SELECT round, round_number, benchmark, division, chips, min(minutes) AS minutes, entry, submitter, system_name,
       accelerator, chip_minutes, comparable_since
FROM results WHERE minutes IS NOT NULL AND chips IS NOT NULL
GROUP BY round, benchmark, division, chips;

-- The fastest results of two rounds at the same scale. speedup: how many times faster; comparable: same target and data.
CREATE VIEW speedup AS
SELECT later.benchmark, later.division, later.chips, earlier.round AS earlier, later.round AS later,
       earlier.minutes AS earlier_minutes, later.minutes AS later_minutes,
       earlier.minutes / later.minutes AS speedup, later.comparable_since IS earlier.comparable_since AS comparable,
       earlier.entry AS earlier_entry, later.entry AS later_entry
FROM fastest AS later JOIN fastest AS earlier
  ON earlier.benchmark = later.benchmark AND earlier.division = later.division AND earlier.chips = later.chips
 AND earlier.round_number < later.round_number;

-- The fastest result of each benchmark at any scale, per round and division, and the chips it took.
CREATE VIEW records AS
SELECT round, round_number, benchmark, division, min(minutes) AS minutes, chips, entry, submitter, system_name,
       accelerator, comparable_since
FROM results WHERE minutes IS NOT NULL
GROUP BY round, benchmark, division;

-- How the fastest results of two rounds grew in chips.
CREATE VIEW growth AS
SELECT later.benchmark, later.division, earlier.round AS earlier, later.round AS later,
       earlier.chips AS earlier_chips, later.chips AS later_chips, 1.0 * later.chips / earlier.chips AS growth,
       earlier.minutes AS earlier_minutes, later.minutes AS later_minutes,
       earlier.entry AS earlier_entry, later.entry AS later_entry,
       later.comparable_since IS earlier.comparable_since AS comparable, earlier.minutes / later.minutes AS speedup
FROM records AS later JOIN records AS earlier
  ON earlier.benchmark = later.benchmark AND earlier.division = later.division
 AND earlier.round_number < later.round_number;

-- Reference points with what they allow: max_speedup is how much less than the reference a set may need and still pass.
CREATE VIEW reference_points AS
SELECT reference.*, round.number AS round_number, benchmark.title, benchmark.log_name, benchmark.unit AS position_unit,
       reference.mean / nullif(reference.minimum, 0) AS max_speedup, reference.deviation / reference.mean AS variation
FROM reference JOIN round ON round.name = reference.round
JOIN benchmark ON benchmark.round = reference.round AND benchmark.name = reference.benchmark;

-- Submissions with the numbers of what was found in them as a whole, and of what their results are.
CREATE VIEW packages AS
SELECT package.id AS package, package.round, round.number AS round_number, package.label, package.submitter,
       package.level, package.results, package.file,
       (SELECT count(*) FROM package_finding AS f WHERE f.package = package.id AND f.severity = 'error') AS errors,
       (SELECT count(*) FROM package_finding AS f WHERE f.package = package.id AND f.severity = 'warning') AS warnings,
       (SELECT count(*) FROM package_finding AS f WHERE f.package = package.id AND f.severity = 'note') AS notes
FROM package LEFT JOIN round ON round.name = package.round;

-- Every finding, of logs, of results (run NULL) and of submissions (entry NULL).
CREATE VIEW all_findings AS
SELECT entry.round, entry.label, entry.submitter, system.name AS system, entry.benchmark, finding.entry, finding.run,
       NULL AS package, finding.rule, finding.severity, finding.message, finding.because, finding.file, finding.line
FROM finding JOIN entry ON entry.id = finding.entry JOIN system ON system.id = entry.system
UNION ALL
SELECT package.round, package.label, package.submitter, NULL, NULL, NULL, NULL, package.id, rule, severity, message,
       because, package_finding.file, package_finding.line
FROM package_finding JOIN package ON package.id = package_finding.package;
