-- What is stored: as logged, and as the judge decided. Every number that follows from these by arithmetic is in views.sql.
-- `file`: path below the folder of the round; `line`: 1-based, 0 where it is the whole file. Times: milliseconds since 1970.

CREATE TABLE round (
    name TEXT PRIMARY KEY,           -- v4.0, mini-1
    number INTEGER NOT NULL,         -- order in time, official rounds first
    kind TEXT NOT NULL,              -- official, house
    title TEXT NOT NULL,
    normalised INTEGER NOT NULL,     -- 1: times of sets that needed less than the reference are multiplied by a factor
    file TEXT NOT NULL, line INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE benchmark (             -- what a round asks of a benchmark
    round TEXT NOT NULL,
    name TEXT NOT NULL,              -- ours, the same in every round
    log_name TEXT NOT NULL,          -- what logs of the round call it
    title TEXT NOT NULL, area TEXT NOT NULL, dataset TEXT NOT NULL, model TEXT NOT NULL, metric TEXT NOT NULL,
    target TEXT NOT NULL,            -- in words; as numbers in table target
    runs INTEGER NOT NULL,           -- how many make a result
    dropped INTEGER NOT NULL,        -- of these, left out of the mean at each end
    max_failures INTEGER NOT NULL,
    unit TEXT NOT NULL,              -- of positions: epochs, samples
    comparable_since TEXT NOT NULL,  -- first round whose results may be compared with those of this round
    file TEXT NOT NULL, line INTEGER NOT NULL,
    PRIMARY KEY (round, name)
) WITHOUT ROWID;

CREATE TABLE target (                -- all metrics of a target must hold in one evaluation
    round TEXT NOT NULL, benchmark TEXT NOT NULL,
    metric TEXT NOT NULL,
    low REAL, high REAL,             -- NULL: no bound on this side
    file TEXT NOT NULL, line INTEGER NOT NULL,
    PRIMARY KEY (round, benchmark, metric)
) WITHOUT ROWID;

CREATE TABLE reference (             -- a reference convergence point of a round, and what the convergence check makes of it
    round TEXT NOT NULL, benchmark TEXT NOT NULL,
    name TEXT NOT NULL,
    batch_size REAL NOT NULL,
    unit TEXT NOT NULL,              -- of the values
    runs INTEGER NOT NULL,           -- behind it
    points TEXT NOT NULL,            -- what each run needed, a JSON list
    mean REAL, deviation REAL,       -- olympic mean, deviation of all values; NULL: too few runs
    minimum REAL,                    -- least mean of a set of runs compared with this point; NULL: no test
    used INTEGER NOT NULL,           -- 1: sets of runs are compared with it
    verdict TEXT NOT NULL,           -- why, or why not
    hyperparameters TEXT NOT NULL,   -- of the reference runs, a JSON object
    file TEXT NOT NULL, line INTEGER NOT NULL,
    PRIMARY KEY (round, benchmark, name)
) WITHOUT ROWID;

CREATE TABLE band (                  -- what a set of runs is compared with, at the points in use and between them
    round TEXT NOT NULL, benchmark TEXT NOT NULL,
    batch_size REAL NOT NULL,
    mean REAL NOT NULL,              -- of the reference, interpolated between points
    least REAL NOT NULL,             -- mean of a set of runs that still passes
    PRIMARY KEY (round, benchmark, batch_size)
) WITHOUT ROWID;

CREATE TABLE submitter (
    name TEXT PRIMARY KEY,           -- the folder
    file TEXT NOT NULL, line INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE system (                -- a system description
    id INTEGER PRIMARY KEY,          -- made from round, place and name: the same in every store
    round TEXT,
    submitter TEXT NOT NULL,
    name TEXT NOT NULL,              -- the folder
    title TEXT,                      -- as it calls itself
    division TEXT, status TEXT,      -- as written
    category TEXT,                   -- what the round takes the status for
    nodes INTEGER, processor TEXT, processors INTEGER, accelerator TEXT, accelerators INTEGER,  -- counts: of all nodes
    framework TEXT, hw_notes TEXT, sw_notes TEXT,
    fields TEXT NOT NULL,            -- the whole description as JSON
    file TEXT NOT NULL, line INTEGER NOT NULL  -- file "": there is no description
);

CREATE TABLE entry (                 -- one result: the runs of a benchmark on a system
    id INTEGER PRIMARY KEY,          -- made from key: the same in every store
    key TEXT NOT NULL UNIQUE,        -- round, label and place
    fingerprint TEXT NOT NULL,       -- of the files and of the judge
    label TEXT NOT NULL,             -- given at ingest, to tell several sets of one's own apart
    round TEXT,                      -- NULL: unknown
    submitter TEXT NOT NULL,
    system INTEGER NOT NULL,
    benchmark TEXT NOT NULL,         -- ours; the log name where nothing is known of it
    log_name TEXT NOT NULL,
    division TEXT NOT NULL,
    level TEXT NOT NULL,             -- judged by: official, rules
    file TEXT NOT NULL, line INTEGER NOT NULL
);
CREATE INDEX entry_of_benchmark ON entry (benchmark, round);

CREATE TABLE run (                   -- one log
    entry INTEGER NOT NULL, number INTEGER NOT NULL,
    status TEXT NOT NULL,            -- converged, not converged, unfinished, invalid, not judged
    counts TEXT,                     -- in the score: kept, fastest, slowest (left out), unused; NULL: no score
    seed TEXT,
    start_ms REAL, start_line INTEGER, stop_ms REAL, stop_line INTEGER,  -- of the clock
    init_ms REAL, training_ms REAL, evaluation_ms REAL, rest_ms REAL,    -- lengths of the logged intervals
    convergence REAL,                -- position at which the target was reached
    evaluations INTEGER NOT NULL,    -- logged, before thinning
    joules REAL,                     -- from power readings
    bytes INTEGER NOT NULL,
    file TEXT NOT NULL, line INTEGER NOT NULL,
    PRIMARY KEY (entry, number)
) WITHOUT ROWID;

CREATE TABLE evaluation (            -- at most 200 of a run; first, last and the one that met the target always
    entry INTEGER NOT NULL, run INTEGER NOT NULL,
    metric TEXT NOT NULL,
    number INTEGER NOT NULL,         -- counts those left out too
    position REAL, value REAL, time_ms REAL NOT NULL,
    met INTEGER NOT NULL,            -- whether the whole target was met
    line INTEGER NOT NULL,           -- file: that of the run
    PRIMARY KEY (entry, run, metric, number)
) WITHOUT ROWID;

CREATE TABLE hyperparameter (        -- one row for each value that a key has in the runs of an entry
    entry INTEGER NOT NULL,
    name TEXT NOT NULL,              -- ours
    number INTEGER NOT NULL,         -- more than one row: the runs do not agree
    key TEXT NOT NULL,               -- as logged
    value TEXT NOT NULL,             -- as logged, in JSON
    real REAL,                       -- where it is a number
    asked INTEGER NOT NULL,          -- 1: a hyperparameter by the rules of the benchmark; 0: logged beside them
    runs INTEGER NOT NULL,           -- how many logged this value
    run INTEGER NOT NULL, line INTEGER NOT NULL,  -- the first of them; file: that of the run
    PRIMARY KEY (entry, name, number)
) WITHOUT ROWID;

CREATE TABLE finding (
    entry INTEGER NOT NULL, number INTEGER NOT NULL,
    run INTEGER,                     -- NULL: of all runs together
    rule TEXT NOT NULL, severity TEXT NOT NULL, message TEXT NOT NULL,
    because TEXT,                    -- rule of the finding that this one follows from
    file TEXT NOT NULL, line INTEGER NOT NULL,
    PRIMARY KEY (entry, number)
) WITHOUT ROWID;

CREATE TABLE score (                 -- what the judge decided of all runs together; minutes are in view results
    entry INTEGER PRIMARY KEY,
    scored INTEGER NOT NULL,         -- 1: enough runs converged for a score
    publishable INTEGER NOT NULL,    -- 1: nothing in the way
    batch_size REAL,
    passed INTEGER, verdict TEXT, basis TEXT,        -- the convergence check
    submission_mean REAL, reference_mean REAL, reference_deviation REAL, minimum_mean REAL,
    computed_factor REAL,            -- what the convergence check multiplies the time by
    published_factor REAL,           -- what scaling.json says
    samples_to_converge REAL,
    uncertainty REAL,                -- relative, what is known of published times
    nodes_measured INTEGER,          -- with power readings
    deviation REAL,                  -- of the minutes of the runs that count, divisor n - 1; all four before any factor
    low REAL, high REAL,             -- 95 % interval of their mean in minutes, Student's t
    bootstrap_low REAL, bootstrap_high REAL,  -- 95 % interval of the mean, percentile bootstrap over all runs scored
    file TEXT NOT NULL, line INTEGER NOT NULL
);

CREATE TABLE package (               -- a submission: its folders and files; the results in it are entries
    id INTEGER PRIMARY KEY,          -- made from key: the same in every store
    key TEXT NOT NULL UNIQUE,        -- round, label and place
    fingerprint TEXT NOT NULL,       -- of names and sizes of its files, of what was read of them, and of the judge
    label TEXT NOT NULL,
    round TEXT,                      -- NULL: unknown
    submitter TEXT NOT NULL,
    level TEXT NOT NULL,             -- judged by: official, rules
    results INTEGER NOT NULL,        -- folders with logs
    file TEXT NOT NULL, line INTEGER NOT NULL
);

CREATE TABLE package_finding (       -- about a submission as a whole, none about a single log
    package INTEGER NOT NULL, number INTEGER NOT NULL,
    rule TEXT NOT NULL, severity TEXT NOT NULL, message TEXT NOT NULL,
    because TEXT,
    file TEXT NOT NULL, line INTEGER NOT NULL,
    PRIMARY KEY (package, number)
) WITHOUT ROWID;

CREATE TABLE published (             -- minutes as the association published them, where somebody gave them (--published)
    round TEXT NOT NULL, submitter TEXT NOT NULL, system TEXT NOT NULL,  -- names of folders
    log_name TEXT NOT NULL,          -- of the benchmark
    minutes REAL NOT NULL,
    file TEXT NOT NULL, line INTEGER NOT NULL,
    PRIMARY KEY (round, submitter, system, log_name)
) WITHOUT ROWID;
