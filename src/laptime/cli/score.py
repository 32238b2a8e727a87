"""`laptime score`: the score of a set of runs, and in words how it came about."""

from collections.abc import Sequence
from pathlib import Path

import click

from laptime.cli.check import MANY, of_result, plural, write_text
from laptime.cli.counter import counter
from laptime.cli.options import ANY_PATH, FILE, json_option, level_option, round_option, suite_option
from laptime.cli.terminal import Column, heading, say, say_json, table, width
from laptime.cli.weights import WHY_NOT, parse_weights, summaries, summary_table
from laptime.compliance.finding import Level, printable
from laptime.compliance.power import Energy
from laptime.compliance.reports.table import factor, scores_table, verdict
from laptime.compliance.result import Result, RunVerdict, Score, judge_folder
from laptime.config import SuitePath
from laptime.errors import FINDINGS, FINE

JOULES_PER_KWH = 3.6e6
UNVERIFIED = "Unverified: measured and judged by this program alone, not reviewed by anybody else."


@click.command("score", epilog="Example: laptime score runs")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=ANY_PATH)
@round_option(None, "Round to score by.  [default: as the logs or their path say]")
@level_option
@click.option("--csv", "csv_file", type=FILE, help="Write a table of the results: names, minutes, runs, factor, ...")
@click.option("--weights", metavar="FILE|NAME=W,...",
              help="Also give a weighted geometric mean over benchmarks, with your own weights.")
@click.option("--long", "every", is_flag=True, help="Tell the whole story of each result, however many there are.")
@suite_option
@json_option
def command(*, paths: tuple[Path, ...], round_name: str | None, level: Level, csv_file: Path | None,
            weights: str | None, every: bool, suite: SuitePath, as_json: bool) -> int:
    """The score of the runs at each PATH: minutes to the target, and each step from the logs to that number.

    There is no single number over benchmarks: which of them matter differs from user to user. Exit code 1 when there is
    no score, or when the runs could not be published as they are.
    """
    chosen = None if weights is None else parse_weights(weights)
    results = [result for path in paths for result in judge_folder(
        path, round_name=round_name, level=level, suite=suite, energy=True,
        progress=counter("scored {done} of {total} results"))]
    means = None if chosen is None else summaries(results, chosen)
    if csv_file:
        write_text(csv_file, scores_table(results))
    if as_json:
        told = [result.to_json() for result in results]
        say_json(told if means is None else {"results": told, "weighted": means})
    else:
        say(compact(results, width()) if len(results) > MANY and not every else
            "\n\n".join(text(result, width()) for result in results))
        if means is not None:
            say(f"\n{summary_table(means, width())}\n{WHY_NOT}")
    return FINE if all(result.ok for result in results) else FINDINGS


def compact(results: Sequence[Result], limit: int | None) -> str:
    """One row per result."""
    columns = (Column("submitter"), Column("system"), Column("benchmark"), Column("score [min]", right=True),
               Column("+-", right=True), Column("runs", right=True), Column("kept", right=True),
               Column("factor", right=True), Column("convergence"))
    rows = [(result.folder.submitter or "-", result.folder.system or "-", result.folder.benchmark,
             "-" if result.score is None else decimals(result.score.normalised_minutes), give_or_take(result.score),
             str(len(result.runs)), "-" if result.score is None else str(len(result.score.kept)),
             "-" if (times := factor(result)) is None else f"{times:.4f}", verdict(result.rcp) or "-")
            for result in results]
    scored = sum(1 for result in results if result.score is not None)
    end = f"{scored} of {plural(len(results), 'result')} with a score; laptime score --long tells how each came about."
    return "\n".join([table(columns, rows, limit), "", end, uncertainty_words(results), UNVERIFIED])


def give_or_take(score: Score | None) -> str:
    return "-" if score is None or score.uncertainty is None else f"{100 * score.uncertainty:g} %"


def uncertainty_words(results: Sequence[Result]) -> str:
    """What the label of uncertainty means."""
    if not any(result.score and result.score.uncertainty for result in results):
        return "No uncertainty is known for times of this round."
    return ("+-: how far published times of one system may lie apart by chance, as the association says of its rounds; "
            "it was not measured on these runs.")


def text(result: Result, limit: int | None) -> str:
    """The runs, what happened to their times, and the score."""
    system = f" on {result.folder.system}" if result.folder.system else ""
    parts = [heading(f"{of_result(result)}{system}"), runs_table(result, limit), ""]
    if result.score is None:
        parts.append(printable(f"No score: {'; '.join(reasons(result))}."))
    else:
        parts += story(result, result.score)
    return "\n".join([*parts, *map(printable, problems(result))])


def runs_table(result: Result, limit: int | None) -> str:
    """One line per run: how it ended, its time, what it needed, and whether it counts."""
    needed = f"{result.score.unit} to target" if result.score else "to target"
    columns = (Column("run"), Column("outcome"), Column("time [min]", right=True), Column(needed, right=True),
               Column("seed", right=True), Column("counts"))
    return table(columns, [(run.path.name, run.status, "-" if run.minutes is None else decimals(run.minutes),
                            "-" if run.convergence is None else f"{run.convergence:g}",
                            "-" if run.seed is None else str(run.seed), counts(result, place))
                           for place, run in enumerate(result.runs)], limit)


def counts(result: Result, place: int) -> str:
    """Whether a run is part of the mean."""
    score = result.score
    if score is None:
        return "-"
    if place in score.kept:
        return "yes"
    return "no: beyond the runs that are scored" if place in score.unused else f"no: {end_of(score, place)}"


def end_of(score: Score, place: int) -> str:
    return "fastest" if score.dropped.index(place) < len(score.dropped) // 2 else "slowest"


def story(result: Result, score: Score) -> list[str]:
    """From the times to the score, one step per line."""
    lines = [printable(mean_words(result, score))]
    if score.interval95 is not None and score.variation is not None:
        low, high = score.interval95.low, score.interval95.high
        lines.append(f"The runs that count scatter by {100 * score.variation:.1f} % around it; with 95 % confidence "
                     f"the true mean lies between {decimals(low)} and {decimals(high)} min (Student's t).")
    if score.uncertainty is not None:
        lines.append(f"Published times of this kind of benchmark are good to about {give_or_take(score)} either way.")
    if score.unused:
        lines.append(f"{plural(len(score.unused), 'run')} beyond what the round scores played no part.")
    lines.append(convergence_words(score))
    if result.energy is not None:
        lines.append(energy_words(result.energy))
    return [*lines, "", heading(f"Score: {decimals(score.normalised_minutes)} min"), UNVERIFIED]


def energy_words(energy: Energy) -> str:
    """What the power readings beside the logs make of the runs that count."""
    measured = f"{plural(energy.nodes, 'node')} and {energy.switches} switches" if energy.switches else \
        plural(energy.nodes, "node")
    if energy.mean_joules is None:
        return f"Energy: none, the power readings of {measured} do not give one for every run that counts."
    return (f"Energy: {energy.mean_joules:.6g} J ({energy.mean_joules / JOULES_PER_KWH:.3g} kWh) per run on average, "
            f"from {measured}, over the same runs and times the same factor.")


def mean_words(result: Result, score: Score) -> str:
    if not score.dropped:
        return f"The mean time of {plural(len(score.kept), 'run')} is {decimals(score.minutes)} min."
    left_out = ", ".join(f"{result.runs[place].path.name} ({end_of(score, place)}, {time_of(result.runs[place])})"
                         for place in score.dropped)
    return (f"Left out: {left_out}. The mean of the other {len(score.kept)} is {decimals(score.minutes)} min "
            f"(olympic mean: luck and mishap at both ends do not count).")


def time_of(run: RunVerdict) -> str:
    if run.status != "converged" or run.minutes is None:
        return run.status
    return f"{decimals(run.minutes)} min"


def convergence_words(score: Score) -> str:
    """What the convergence test compared and what follows."""
    rcp = score.rcp
    if rcp.submission_mean is None or rcp.reference_mean is None or rcp.minimum_mean is None:
        return f"Convergence test: {'not needed' if rcp.passed else 'not passed'} ({rcp.text})."
    said = (f"Convergence test: the runs needed {rcp.submission_mean:.4g} {score.unit} on average, the reference needs "
            f"{rcp.reference_mean:.4g} at batch {rcp.batch_size:g}; "
            f"less than {rcp.minimum_mean:.4g} would be more than luck. ")
    if not rcp.passed:
        return said + "Not passed: the runs did something else than the reference."
    if score.published_factor is not None:
        return said + f"Passed. The time is multiplied by {score.factor:.4f}, the factor in scaling.json."
    if score.factor > 1:
        return said + f"Passed. As they needed less than the reference, their time is multiplied by {score.factor:.4f}."
    if rcp.factor > 1:
        return said + (f"Passed. This round does not normalise: the time stands as it is, though later rounds would "
                       f"multiply it by {rcp.factor:.4f}.")
    return said + "Passed; the time stands as it is."


def reasons(result: Result) -> list[str]:
    """Why there is no score."""
    errors = [finding.message for finding in result.findings if finding.severity == "error"]
    causes = [f"which follows from {finding.because}" for finding in result.findings if finding.because]
    return errors + causes or [f"{len(result.runs)} runs are too few, or none could be judged"]


def problems(result: Result) -> list[str]:
    """What stands in the way of publishing."""
    if result.ok or result.score is None:
        return []
    found = [finding.message for finding in result.findings if finding.severity == "error"]
    found += [f"{run.path.name} is {run.status}" for run in result.runs if run.status in ("invalid", "not judged")]
    return ["", f"Not to be published as it is: {'; '.join(found)}. See: laptime check {result.folder.path}"]


def decimals(minutes: float) -> str:
    """Minutes to about half a second, to three digits below one."""
    return f"{minutes:.2f}" if minutes >= 1 else f"{minutes:.3f}"
