"""`laptime score`: the score of a set of runs, and in words how it came about."""

from pathlib import Path

import click

from laptime.cli.check import of_result, plural
from laptime.cli.options import ANY_PATH, json_option, level_option, round_option, suite_option
from laptime.cli.terminal import Column, heading, say, say_json, table, width
from laptime.compliance.finding import Level, printable
from laptime.compliance.result import Result, RunVerdict, Score, judge_folder
from laptime.config import SuitePath
from laptime.errors import FINDINGS, FINE

UNVERIFIED = "Unverified: measured and judged by this program alone, not reviewed by anybody else."


@click.command("score", epilog="Example: laptime score runs")
@click.argument("folder", type=ANY_PATH)
@round_option(None, "Round to score by.  [default: as the logs or their path say]")
@level_option
@suite_option
@json_option
def command(*, folder: Path, round_name: str | None, level: Level, suite: SuitePath, as_json: bool) -> int:
    """The score of the runs in FOLDER: minutes to the target, and each step from the logs to that number.

    Exit code 1 when there is no score, or when the runs could not be published as they are.
    """
    results = judge_folder(folder, round_name=round_name, level=level, suite=suite)
    if as_json:
        say_json([result.to_json() for result in results])
    else:
        say("\n\n".join(text(result, width()) for result in results))
    return FINE if all(result.ok for result in results) else FINDINGS


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
    return f"no: {end_of(score, place)}"


def end_of(score: Score, place: int) -> str:
    return "fastest" if score.dropped.index(place) < len(score.dropped) // 2 else "slowest"


def story(result: Result, score: Score) -> list[str]:
    """From the times to the score, one step per line."""
    lines = [printable(mean_words(result, score))]
    if score.interval95 is not None and score.variation is not None:
        low, high = score.interval95.low, score.interval95.high
        lines.append(f"The runs that count scatter by {100 * score.variation:.1f} % around it; with 95 % confidence "
                     f"the true mean lies between {decimals(low)} and {decimals(high)} min (Student's t).")
    lines += [convergence_words(score), "", heading(f"Score: {decimals(score.normalised_minutes)} min"), UNVERIFIED]
    return lines


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
    factor = rcp.factor if score.published_factor is None else score.published_factor
    if score.published_factor is not None:
        return said + f"Passed. The time is multiplied by {factor:.4f}, the factor in scaling.json."
    if factor > 1:
        return said + f"Passed. As they needed less than the reference, their time is multiplied by {factor:.4f}."
    return said + "Passed; the time stands as it is."


def reasons(result: Result) -> list[str]:
    """Why there is no score."""
    errors = [finding.message for finding in result.findings if finding.severity == "error"]
    return errors or [f"{len(result.runs)} runs are too few, or none could be judged"]


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
