"""Every rule of the judge that is not a key rule of a round: what it demands, why, where it stands, how to obey it.

Key rules (counts and values of logged keys) are data of the rounds and bring their own ids and sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass

LOG = "log format of the official logging library"
TIMING = "training rules, section Data State at Start of Run and timing of a run"
RUNS = "training rules, section Run Results"
STRUCTURE = "interval structure of logs: order that the official checker of v0.6 enforced"
TREE = "submission rules, section Directory Structure"
METADATA = "submission rules, section System Metadata"
POWER = "training policies, power measurement"


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
    "round-unknown": RuleText(
        "The round of a result is known",
        "A log, or the path of its folder, tells the round it was made for.",
        "Without its round there are no rules to judge a log by; the other results are judged.",
        LOG, "Name the round with --round, or keep the folder under one that is called like the round."),
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
    "run-windows": RuleText(
        "More runs than asked are scored by windows",
        "Of more runs than the round asks for, every window of that many in order of launch is scored; the median "
        "counts.",
        "Picking the best of several batches would bias the score; the median of all windows does not.",
        RUNS, "Nothing to mend; a submission holds the runs of the window that counts."),
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
    "seed-integer": RuleText(
        "A seed is an integer",
        "The value of a seed line is an integer, or text that holds one.",
        "The official seed checker refuses the whole log otherwise.",
        "seed checker", "Log the number itself."),
    "seed-many": RuleText(
        "A run has one seed",
        "One line with key seed in each log.",
        "Several seeds are allowed, but make it harder to see that runs are independent.",
        "seed checker", "Draw one seed and derive the others from it."),
    "seed-constant": RuleText(
        "Seeds are not written into the code",
        "No submitted source file seeds a generator with a constant.",
        "Runs with one constant seed are not independent; a constant may be harmless, so a person has to look.",
        "training rules, section Random Numbers", "Take the seed from the system's source, or say why it is constant."),
    "system-json": RuleText(
        "A system description is JSON",
        "A file of JSON text with an object, no link, of at most one mebibyte.",
        "Tools that cannot read it leave the system out of the tables, or stop.",
        METADATA, "Mend the file at the line named; a comma before a closing bracket is the usual fault."),
    "system-fields": RuleText(
        "A system description has every field",
        "Each of the fields of the round's list is there, if need be empty.",
        "The official checker refuses descriptions that lack one.",
        METADATA, "Add the field; `laptime run` writes a description with all of them."),
    "system-answers": RuleText(
        "A system description says something in the fields that matter",
        "All fields but those excepted by the rules have an answer; of the counts of cores and threads one suffices; "
        "fields about accelerators are for systems that have some.",
        "Others must be able to build the same system.",
        METADATA, "Fill in the field, with N/A where there is no such thing."),
    "system-status": RuleText(
        "The status is one of the categories",
        "From v4.1 on exactly one of the four categories; before, any of the usual spellings of one.",
        "Results are listed by category, and each category has its own duties.",
        METADATA, "Write the category exactly as the rules do."),
    "system-division": RuleText(
        "The division is spelled as the rules spell it",
        "The division is one of those of the round, in small letters.",
        "The official tools compare it exactly: a closed result under another spelling escapes the seed and "
        "convergence checks.",
        METADATA, "Write closed or open."),
    "system-types": RuleText(
        "Fields of the tables are texts",
        "The fields that the official checker puts into a line of a table hold texts, also where they are numbers.",
        "The official checker stops at anything else.",
        "system-description checker", "Write the number in quotes."),
    "system-missing": RuleText(
        "Every system with results is described",
        "A folder of results has a system description of the same name.",
        "A result without a system cannot be published.",
        TREE, "Add systems/<system>.json, or rename one of the two."),
    "system-unused": RuleText(
        "Every system that is described has results",
        "A system description has a folder of results of the same name.",
        "It may be a leftover, or the results may have another name.",
        TREE, "Remove the description, or rename one of the two."),
    "system-submitter": RuleText(
        "The description names the submitter of its folder",
        "Field submitter and the submitter's folder agree but for case, blanks, signs and order of joined names.",
        "Other spellings make one submitter into two in the tables.",
        METADATA, "Use one name in folders and descriptions."),
    "package-empty": RuleText(
        "A submission holds results",
        "There is at least one result with logs.",
        "Without results there is nothing to judge.",
        TREE, "Check that the right folder was given and that results/<system>/<benchmark>/ holds logs."),
    "package-unreadable": RuleText(
        "Every result can be read",
        "The logs of a result are readable files, and the round of the result is known.",
        "What cannot be read cannot be judged.",
        TREE, "Check the files and their permissions."),
    "package-benchmark": RuleText(
        "Folders of results are called after benchmarks of the round",
        "results/<system>/<benchmark> with a log name of the round.",
        "The official checker skips other folders.",
        TREE, "Rename the folder, or take it out."),
    "package-place": RuleText(
        "Logs lie at results/<system>/<benchmark>",
        "No result files directly in the folder of a system, or deeper than that of a benchmark.",
        "Tools find results by their place.",
        TREE, "Move the files, and give other logs another name."),
    "package-numbers": RuleText(
        "Logs are numbered from 0",
        "Result files are called result_0.txt, result_1.txt and so on, without gaps.",
        "A gap looks like a run that was taken out.",
        TREE, "Rename the files in the order of the runs."),
    "package-stray": RuleText(
        "Nothing else lies beside the logs",
        "Besides logs, the scaling file, parameters and power readings a folder of results is empty.",
        "Other files confuse tools that count them.",
        TREE, "Move the files elsewhere or remove them."),
    "package-code": RuleText(
        "The code of every benchmark is submitted",
        "The code that made the results is in the submission, from v0.6 on at benchmarks/<benchmark>/implementations.",
        "Results must be reproducible by others.",
        TREE, "Add the code, or the reference to it that the category allows."),
    "package-scripts": RuleText(
        "Every result says how to repeat it",
        "benchmarks/<benchmark>/<system> holds the scripts and the README that the rules list, and a JSON file for "
        "each implementation used.",
        "Results must be reproducible by others.",
        TREE, "Add the files that are missing; `laptime run` writes them."),
    "package-switch": RuleText(
        "Switches of the official checker are known and take effect",
        "A line of package_checker_params is one of the known switches; the official tool reads it only where no line "
        "end follows, so one per file.",
        "A switch excuses a failed check; the review should see it.",
        "package checker", "Write one known switch into the file, without a line end."),
    "repository-name": RuleText(
        "Names can be kept in a repository",
        "No file or folder name begins with a dot or holds a blank.",
        "Submissions are published in a git repository.",
        "repository checker", "Rename it, or take it out."),
    "repository-size": RuleText(
        "Files are small enough for a repository",
        "No file is larger than 50 MiB.",
        "Submissions are published in a git repository, which refuses larger files.",
        "repository checker", "Remove the file, compress it, or split it."),
    "repository-link": RuleText(
        "Links lead somewhere within the submission",
        "A symbolic link leads to something that exists, inside the submission.",
        "A link that leads elsewhere is broken for everybody else.",
        "repository checker", "Put the file itself in place of the link."),
    "repository-kind": RuleText(
        "A submission consists of files and folders",
        "No pipes, sockets or devices, and no folder that cannot be read.",
        "Nothing else can be published, and a tool that opens a pipe waits forever.",
        "repository checker", "Take it out."),
    "log-system": RuleText(
        "Logs agree with the description of their system",
        "Division, status and number of nodes are the same in the logs, in the name of the system and in its "
        "description, where they say something about them.",
        "Otherwise the results may be those of another system.",
        METADATA, "Correct the description, or move the logs to the system they were made on."),
    "log-placeholder": RuleText(
        "Logs name their submitter",
        "submission_org is a name, not the placeholder of a script that nobody filled in.",
        "A log that lies elsewhere no longer tells whose it is.",
        METADATA, "Give the logger the name of the submitter."),
    "power-structure": RuleText(
        "Power readings are complete",
        "power/<result>/ for every run, with node_0.txt to node_<n-1>.txt and sw_0.txt to sw_<m-1>.txt, as many in "
        "each run, and nothing else.",
        "The energy of a result counts every node and switch of every run.",
        POWER, "Add the files that are missing and number them from 0."),
    "power-readings": RuleText(
        "Power files hold a measurement",
        "A node's file has a start, readings in watts in between and a stop after them; a switch's file has one "
        "estimate; a conversion efficiency is a number above 0 and at most 1, and comes before the estimate.",
        "Energy is the sum of the readings over the time of the run.",
        POWER, "Measure again, or log what is missing."),
}
