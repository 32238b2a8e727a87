"""`laptime runs`: how many runs a set needs for a mean within a few per cent, answered from measured values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from laptime.cli.check import plural
from laptime.cli.options import ANY_PATH, json_option, round_option, suite_option
from laptime.cli.show import known_benchmark, rules_in
from laptime.cli.terminal import Column, heading, say, say_json, table, width
from laptime.compliance.result import judge_folder
from laptime.config import SuitePath
from laptime.errors import UserError
from laptime.rules.load import load_round
from laptime.rules.model import BenchmarkRules
from laptime.scoring.needed import DRAWS, MOST_RUNS, SHARE, Closeness, closeness, enough, pooled, residuals
from laptime.scoring.spread import variation

FEWEST = 3  # values of a group: two say next to nothing about a spread


def percent(ctx: click.Context, parameter: click.Parameter, value: str) -> float:
    """A relative bound: "5%" or 0.05. Raises BadParameter."""
    text = value.strip()
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = 0.0
    if not 0 < number < 1:
        raise click.BadParameter(f"expected a share between 0 and 100 %, such as 5% or 0.05, found '{text}'", ctx,
                                 parameter)
    return number


@dataclass(frozen=True)
class Group:
    """Values of one kind: what the runs of one reference point needed, or the times of one result."""

    name: str
    values: tuple[float, ...]
    variation: float | None


@dataclass(frozen=True)
class Answer:
    """From one kind of values. `needed`: the fewest runs that are enough (None: more than were tried); `widest`: the
    group that scatters most and what is needed by it alone; `asked`: what holds for as many runs as the round asks for;
    `rows`: for every number tried."""

    what: str
    groups: tuple[Group, ...]
    needed: int | None
    widest: str
    needed_by_widest: int | None
    asked: Closeness | None
    rows: tuple[Closeness, ...]


@click.command("runs", epilog="Example: laptime runs resnet --round v4.0 --within 5%")
@click.argument("name")
@click.option("--within", metavar="PERCENT", default="5%", show_default=True, callback=percent,
              help="How far from the true mean at most.")
@click.option("--share", metavar="PERCENT", default=f"{SHARE:.0%}", show_default=True, callback=percent,
              help="How many of the sets are to be that close.")
@click.option("--results", "paths", type=ANY_PATH, multiple=True,
              help="Results of this benchmark, whose times are used as well. Repeatable.")
@round_option()
@suite_option
@json_option
def command(*, name: str, within: float, share: float, paths: tuple[Path, ...], round_name: str, suite: SuitePath,
            as_json: bool) -> None:
    """How many runs of benchmark NAME bring the olympic mean within a few per cent of the true mean.

    Sets are drawn from what the reference runs of the round needed and, with --results, from measured times.
    """
    known_benchmark(name, suite)
    rules = rules_in(load_round(round_name, suite), name)
    kinds = {f"{rules.convergence_unit} of the reference": reference_groups(rules)}
    if paths:
        kinds["measured times"] = result_groups(rules, paths, suite)
    answers = [answer(what, groups, rules, within, share) for what, groups in kinds.items()
               if pooled([group.values for group in groups])]
    if not answers:
        raise UserError(f"expected reference points of {name} in round {rules.round} with {FEWEST} values or more, "
                        "found none", hint="Give measured runs: --results PATH.")
    if as_json:
        say_json({"benchmark": rules.name, "round": rules.round, "runs": rules.runs, "drop": rules.drop,
                  "within": within, "share": share, "draws": DRAWS, "answers": answers})
    else:
        say(text(rules, answers, within, share, width()))


def reference_groups(rules: BenchmarkRules) -> list[Group]:
    """One group per reference point of the round, used or pruned: they scatter alike."""
    return [_group(f"batch {point.batch_size}", point.values) for point in rules.references
            if len(point.values) >= FEWEST]


def result_groups(rules: BenchmarkRules, paths: Sequence[Path], suite: SuitePath) -> list[Group]:
    """One group per result of this benchmark: the minutes of the runs that converged."""
    found = []
    for path in paths:
        for result in judge_folder(path, round_name=rules.round, suite=suite):
            times = tuple(run.minutes for run in result.runs if run.status == "converged" and run.minutes is not None)
            if result.benchmark == rules.name and len(times) >= FEWEST:
                found.append(_group(str(result.folder.path), times))
    return found


def answer(what: str, groups: Sequence[Group], rules: BenchmarkRules, within: float, share: float) -> Answer:
    """How many runs are enough by one kind of values."""
    rows = closeness(pooled([group.values for group in groups]), within=within, drop=rules.drop)
    widest = max(groups, key=lambda group: group.variation or 0.0)
    alone = closeness(residuals(widest.values), within=within, drop=rules.drop)
    return Answer(what, tuple(groups), enough(rows, share), widest.name, enough(alone, share),
                  next((row for row in rows if row.runs == rules.runs), None), rows)


def text(rules: BenchmarkRules, answers: Sequence[Answer], within: float, share: float, limit: int | None) -> str:
    """The answers in words, the table, and the method."""
    lines = [heading(f"{rules.title} ({rules.name}), round {rules.round}: how many runs")]
    for one in answers:
        lines += [_words(one, rules, within, share), _spread(one)]
    columns, rows = _table(answers, within)
    lines += ["", table(columns, rows, limit), "", method(rules, within)]
    return "\n".join(lines)


def method(rules: BenchmarkRules, within: float) -> str:
    """How the numbers came about, and how far to trust them."""
    return (f"Method: every value is divided by the mean of its group; {DRAWS} sets per number of runs are drawn with "
            f"replacement; their olympic mean (without {rules.drop} + {rules.drop}) is compared with 1. close: share "
            f"within {within:.3g} of it, to about +/- {100 * 1.96 * (0.09 / DRAWS) ** 0.5:.1f} percentage points; "
            "9 in 10: the distance within which nine in ten sets lie. Runs that never reach the target are not in "
            "this, and no set can tell a bias that all runs share.")


def _group(name: str, values: Sequence[float]) -> Group:
    return Group(name, tuple(values), variation(values))


def _words(one: Answer, rules: BenchmarkRules, within: float, share: float) -> str:
    goal = f"{100 * share:g} % of sets within {100 * within:g} % of the true mean"
    asked = f" The round asks for {rules.runs}: {100 * one.asked.share:.1f} % of sets are that close, nine in ten " \
            f"are within {100 * one.asked.width:.1f} %." if one.asked else ""
    return f"By the {one.what}: {_or_more(one.needed)} for {goal}.{asked}"


def _or_more(needed: int | None) -> str:
    return f"{plural(needed, 'run')} or more" if needed else f"more than {MOST_RUNS} runs"


def _spread(one: Answer) -> str:
    spreads = sorted(group.variation for group in one.groups if group.variation is not None)
    values = sum(len(group.values) for group in one.groups)
    return f"  from {plural(values, 'value')} in {plural(len(one.groups), 'group')}, each scattering by " \
           f"{100 * spreads[0]:.1f} to {100 * spreads[-1]:.1f} %; by the widest alone ({one.widest}): " \
           f"{_or_more(one.needed_by_widest)}" if spreads else "  from values that do not scatter"


def _table(answers: Sequence[Answer], within: float) -> tuple[list[Column], list[list[str]]]:
    columns = [Column("runs", right=True)]
    cells: Mapping[int, list[str]] = {row.runs: [str(row.runs)] for row in answers[0].rows}
    for one in answers:
        short = one.what.split()[0]
        columns += [Column(f"close, {short} [%]", right=True), Column(f"9 in 10, {short} [%]", right=True)]
        for row in one.rows:
            cells[row.runs] += [f"{100 * row.share:.1f}", f"{100 * row.width:.1f}"]
    return columns, list(cells.values())
