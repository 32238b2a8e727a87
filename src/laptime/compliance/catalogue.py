"""Every rule of the judge that is not a key rule of a round: what it demands, why, where it stands, how to obey it.

Key rules (counts and values of logged keys) are data of the rounds and bring their own ids and sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass

LOG = "log format of the official logging library"
TIMING = "training rules, section Data State at Start of Run and timing of a run"
RUNS = "training rules, section Run Results"
STRUCTURE = "interval structure of logs: order that the official checker of v0.6 enforced"


@dataclass(frozen=True)
class RuleText:
    """A rule in words. `source`: where it stands; `fix`: what to do about a finding."""

    title: str
    demands: str
    why: str
    source: str
    fix: str


CATALOGUE: Mapping[str, RuleText] = {
    "log-grammar": RuleText(
        "Every log line can be read",
        "A line that holds the token of a log line must be complete and of the form its dialect prescribes.",
        "A line that cannot be read is evidence that is missing; the official checker refuses the whole file.",
        LOG, "Write log lines with one logger, from one process, a whole line at a time."),
    "log-odd": RuleText(
        "Log lines are written in the usual form",
        "No unknown event types, times in milliseconds, one log line per line of the file, one dialect per file.",
        "Such lines can be read, but other tools may lose them.",
        LOG, "Write log lines with one logger, and start each on a new line."),
    "log-empty": RuleText(
        "A result file is a log",
        "There must be at least one log line.",
        "Without log lines there is nothing to judge.",
        LOG, "Check that the right file was copied and that the logger wrote to it."),
    "log-dialect": RuleText(
        "The log is in the dialect of its round",
        "v0.5 logs begin lines with :::MLPv0.5.0, v0.6 logs with :::MLL, later ones with :::MLLOG.",
        "A log in another dialect belongs to another round, and the checker of this one sees no lines in it.",
        LOG, "Judge the log by the round it was made for (--round), or log in the dialect of this one."),
    "benchmark-unknown": RuleText(
        "The benchmark belongs to the suite of the round",
        "submission_benchmark is one of the log names of the round.",
        "Results are compared within one benchmark of one round.",
        "suite of the round", "Check submission_benchmark and the round."),
    "benchmark-unjudged": RuleText(
        "The rules of the benchmark are at hand",
        "The suite has a folder with the rules of this benchmark for this round.",
        "Without its rules a log can be read but not judged.",
        "suite of the round", "Give a folder with its rules by --suite, or judge this benchmark elsewhere."),
    "round-differs": RuleText(
        "A log is judged by its own round",
        "The round that a log names is the round it is judged by, and the round in its path if there is one.",
        "Rules differ from round to round; a verdict by another one says little about the run.",
        "the log's own line", "Leave out --round, or move the log to the folder of its round."),
    "clock-order": RuleText(
        "Initialisation, run and training come in this order",
        "init_start before init_stop before run_start; blocks and run_stop after run_start.",
        "The clock measures what lies between run_start and run_stop; what is out of order is measured wrongly.",
        "checker, common rules", "Log each of these moments when it happens."),
    "init-limit": RuleText(
        "Initialisation ends within its allowance",
        "From the first init_start to init_stop less than the minutes of the round and division.",
        "Initialisation is not timed, so its length is limited.",
        TIMING, "Initialise faster, or log run_start at the end of the allowance and continue on the clock."),
    "clock-start": RuleText(
        "The clock starts when the allowance is used up",
        "run_start comes no later after the first init_start than the initialisation allowance.",
        "Otherwise untimed work could hide between init_stop and run_start.",
        TIMING, "Log run_start when the allowance ends, whatever remains to be initialised."),
    "event-type": RuleText(
        "Intervals are logged as intervals",
        "Keys that open an interval carry INTERVAL_START, keys that close one INTERVAL_END, others POINT_IN_TIME.",
        "Tools that draw time lines go by the event type.",
        LOG, "Use the start, end and event calls of the logger for the keys they are meant for."),
    "time-order": RuleText(
        "Time does not run backwards",
        "The time stamps of init, run, block, epoch and evaluation lines never decrease along the file.",
        "The score is a difference of two time stamps; stamps out of order cannot be trusted.",
        TIMING, "Take all stamps from one clock of one process."),
    "interval-pairs": RuleText(
        "Every interval that opens closes",
        "Starts and stops of runs, blocks, epochs and evaluations alternate and agree in their position; "
        "only a run that ends may leave an epoch or block open.",
        "Unpaired intervals make it impossible to tell training from evaluation.",
        STRUCTURE, "Log the stop of an interval with the position of its start before the next start."),
    "interval-nesting": RuleText(
        "Intervals lie where they belong",
        "Blocks, epochs and evaluations lie between run_start and run_stop, epochs within blocks where there are any.",
        "Training outside the run would be training that is not timed.",
        STRUCTURE, "Start blocks after run_start and stop them before run_stop."),
    "eval-overlap": RuleText(
        "Blocks are the training between evaluations",
        "An evaluation that is opened inside a block logs its accuracy before the block closes.",
        "A block that closes during an evaluation leaves unclear which weights were evaluated.",
        STRUCTURE, "Close the block before the evaluation starts, or after its accuracy is logged."),
    "eval-outside": RuleText(
        "Accuracies are logged during evaluations",
        "Where evaluations are logged as intervals, every accuracy lies inside one.",
        "An accuracy from outside is hard to place; many published logs write it just after eval_stop.",
        STRUCTURE, "Log eval_accuracy between eval_start and eval_stop."),
    "late-key": RuleText(
        "Hyperparameters are logged before the run ends",
        "Every hyperparameter of the rules is logged before run_stop.",
        "What is logged afterwards was not read from the run.",
        STRUCTURE, "Log hyperparameters from the live objects before run_start."),
    "key-on-clock": RuleText(
        "Hyperparameters are logged before the clock starts",
        "Every hyperparameter of the rules is logged before run_start.",
        "They are known then, and a run that may not start should not start.",
        STRUCTURE, "Log hyperparameters from the live objects before run_start."),
    "cache-order": RuleText(
        "Caches are cleared before initialisation",
        "A cache_clear line comes before the first init_start (before run_start where nothing is initialised apart).",
        "A data set that lies in memory already is read faster than the rules allow.",
        TIMING, "Clear the caches first and log it."),
    "epoch-numbers": RuleText(
        "Epochs are numbered without gaps",
        "Epochs start with the first number of the round and go up by one.",
        "A gap means training that was not logged, a repeated number training that is counted once.",
        STRUCTURE, "Log epoch_start with the number of the epoch in progress."),
    "block-numbers": RuleText(
        "Blocks follow each other without gaps",
        "Each block begins with the epoch after the last one of the block before it.",
        "A gap means training that was not logged.",
        STRUCTURE, "Log first_epoch_num and epoch_count of the training between two evaluations."),
    "eval-position": RuleText(
        "Evaluations never go back",
        "The positions of evaluations increase along the run.",
        "The position at the last evaluation is the convergence value of the run.",
        STRUCTURE, "Log the position of the weights that are evaluated."),
    "eval-missing": RuleText(
        "Evaluations come as often as prescribed",
        "Every prescribed evaluation point up to the end of the run has its evaluation; where the first point is the "
        "submitter's choice, no stretch without an evaluation is longer than the prescribed interval.",
        "A run that evaluates less spends less time on evaluations than its competitors.",
        "training rules, table of evaluation frequencies", "Evaluate at every prescribed point."),
    "eval-extra": RuleText(
        "Evaluations come no more often than prescribed",
        "There is no evaluation beside the prescribed points.",
        "Extra evaluations are allowed as long as the run does not end on one: that would be a finer stopping rule.",
        "training rules, table of evaluation frequencies", "Evaluate at the prescribed points only."),
    "run-status": RuleText(
        "A run says how it ended",
        "run_stop carries status success (target reached) or aborted (given up).",
        "A run that was given up has no time; one per result may be dropped as the slowest.",
        RUNS, "Log run_stop with metadata status when the target is reached."),
    "target-missed": RuleText(
        "A run ends with the target reached",
        "The last evaluation before run_stop meets every metric of the target.",
        "The benchmark is the time to this quality.",
        "training rules, table of benchmarks", "Train longer, or log status aborted for a run that gives up."),
    "stopped-late": RuleText(
        "The clock may stop at the first evaluation that meets the target",
        "The last evaluation of a successful run is the first that meets the target.",
        "No rule is broken; time was given away.",
        RUNS, "Stop at the first evaluation that meets the target."),
    "tensors": RuleText(
        "Every tensor's initialisation is logged once",
        "The names in weights_initialization lines are exactly those that the rules of the benchmark list.",
        "It shows that the model is the reference's model, freshly initialised.",
        "checker, list of tensors of the benchmark", "Log weights_initialization once for each tensor of the list."),
    "seed-missing": RuleText(
        "Every run logs its seed",
        "At least one line with key seed and an integer value.",
        "Runs must be independent; the seed is the evidence.",
        "training rules, section Random Numbers; seed checker", "Draw a fresh seed for each run and log it."),
    "seed-repeated": RuleText(
        "No two runs share a seed",
        "The same seed, logged from the same line of the same file, must not occur in two runs of a result.",
        "Two runs with one seed are one run.",
        "training rules, section Random Numbers; seed checker", "Draw the seed of each run from the system's source."),
    "seed-twice": RuleText(
        "A run logs its seed once",
        "One line with key seed per place in the code.",
        "The official seed checker takes a second line for another run with the same seed.",
        "seed checker", "Log the seed from one process only."),
    "run-count": RuleText(
        "A result has the prescribed number of runs",
        "Exactly as many result files as the round asks for.",
        "Choosing among more runs, or stopping after fewer, would bias the score.",
        RUNS, "Make the runs that are missing; do not select runs."),
    "run-mixture": RuleText(
        "All runs of a result are of one kind",
        "Round, benchmark, division, batch size and data set agree over the runs of a result.",
        "The score is the mean over repetitions of one and the same measurement.",
        RUNS, "Put runs of different configurations into different folders."),
    "too-many-failures": RuleText(
        "At most the droppable runs fail",
        "Runs that do not converge or are invalid count as the slowest; no more of them than the round allows.",
        "A method that often fails is not as fast as its lucky runs.",
        RUNS, "Make a new set of runs with a configuration that converges reliably."),
    "convergence-check": RuleText(
        "Convergence is not faster than the reference's",
        "The mean convergence of the runs is not significantly below that of the reference points.",
        "Fewer epochs than the reference, beyond chance, means that something other than the rules allow was changed.",
        "training rules, section RCP Rules and Guidelines",
        "Look for a departure from the reference, or submit reference points for this batch size."),
    "scaling-file": RuleText(
        "The scaling file holds a factor",
        "scaling.json, where there is one, is a small file (no link) with an object whose scaling_factor is a number "
        "of at least 1.",
        "The score is multiplied by it.",
        "submission rules, score scaling", "Write the file with the factor of the convergence check, or remove it."),
    "scaling-differs": RuleText(
        "The scaling file holds the factor of the convergence check",
        "The factor in scaling.json is the one that the convergence check gives (to one in a million).",
        "A committee may set another factor; otherwise the file belongs to other logs.",
        "submission rules, score scaling", "Write the file with the factor of the convergence check, or remove it."),
    "folder-benchmark": RuleText(
        "Logs lie in the folder of their benchmark",
        "The folder of a result is called like the submission_benchmark of its logs.",
        "Tools find results by folder.",
        "submission rules, directory structure", "Move the logs to the folder of their benchmark."),
    "folder-submitter": RuleText(
        "Logs lie in the folder of their submitter",
        "The folder above `results` is called like the submission_org of its logs.",
        "Names may differ in spelling; another organisation's logs may not lie here.",
        "submission rules, directory structure", "Check submission_org and the folder."),
}
