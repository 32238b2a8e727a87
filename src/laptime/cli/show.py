"""`laptime show`: one benchmark, what a round asks of it, and the configuration that the round runs."""

from collections.abc import Callable, Mapping

import click

from laptime.cli.options import json_option, round_option, suite_option
from laptime.cli.terminal import Column, heading, say, say_json, table, width
from laptime.config import Config, Json, SuitePath, flat, nearest
from laptime.errors import UnknownName
from laptime.rules.load import identities, load_round
from laptime.rules.model import BenchmarkRules, KeyRule, Round
from laptime.suite import load

KEY_COLUMNS = (Column("key"), Column("count"), Column("expected"), Column("division"), Column("source"))
COUNTS = {"exactly_one": "once", "at_least_one": "at least once", "optional": "may occur"}
REFERENCE_PRESET = "full"


@click.command("show", epilog="Example: laptime show resnet --diff mini")
@click.argument("name")
@round_option()
@click.option("--diff", metavar="PRESET", help="Only show where PRESET differs from the reference configuration.")
@suite_option
@json_option
def command(*, name: str, round_name: str, diff: str | None, suite: SuitePath, as_json: bool) -> None:
    """Benchmark NAME: its rules in a round, its evaluations, and every setting of the configuration the round runs."""
    known_benchmark(name, suite)
    round_ = load_round(round_name, suite)
    if diff is not None:
        reference, other = configuration(name, REFERENCE_PRESET, suite), configuration(name, diff, suite)
        changed = {key: [reference[key], other[key]] for key in reference if reference[key] != other[key]}
        if as_json:
            say_json({"reference": REFERENCE_PRESET, "preset": diff, "settings": changed})
        else:
            say(difference_text(changed, diff, width()))
        return
    rules = rules_in(round_, name)
    settings = configuration(name, rules.preset, suite)
    if as_json:
        say_json(answer(round_, rules, settings))
    else:
        say(text(round_, rules, settings, width()))


def known_benchmark(name: str, suite: SuitePath) -> None:
    """Raises UnknownName with the nearest name."""
    names = [identity.folder for identity in identities(suite)]
    if name not in names:
        raise UnknownName(f"unknown benchmark '{name}'.{nearest(name, names)}", hint="See `laptime list`.")


def rules_in(round_: Round, name: str) -> BenchmarkRules:
    """The rules of benchmark `name` in a round. Raises UnknownName."""
    if name not in round_.benchmarks:
        has = ", ".join(sorted(round_.benchmarks)) or "no benchmark that this suite has"
        raise UnknownName(f"benchmark '{name}' is not part of round {round_.name}", hint=f"That round has {has}.")
    return round_.benchmarks[name]


def configuration(name: str, preset: str, suite: SuitePath) -> dict[str, Json]:
    """Every setting of a preset; empty for a benchmark that is only judged. Needs no torch: PRESETS is in config.py."""
    path = next(identity.path for identity in identities(suite) if identity.folder == name)
    if not (path / "config.py").is_file():
        return {}
    presets: Mapping[str, Callable[[], Config]] = load(name, "config", suite).PRESETS
    if preset not in presets:
        raise UnknownName(f"unknown preset '{preset}' of benchmark '{name}'.{nearest(preset, presets)}",
                          hint=f"Presets: {', '.join(presets)}.")
    return flat(presets[preset]())


def answer(round_: Round, rules: BenchmarkRules, settings: Mapping[str, Json]) -> dict[str, object]:
    """The same for programs."""
    return {
        "benchmark": rules.name, "log_name": rules.log_name, "round": round_.name, "title": rules.title,
        "area": rules.area, "dataset": rules.dataset, "model": rules.model, "metric": rules.metric,
        "target": {metric: str(interval) for metric, interval in rules.target.items()},
        "runs": rules.runs, "drop": rules.drop, "max_failures": rules.max_failures,
        "evaluations": rules.evaluations.text, "excepts": rules.excepts, "preset": rules.preset,
        "keys": [{"id": rule.id, "key": rule.key, "count": rule.count, "expected": expected(rule),
                  "division": rule.division, "authority": rule.authority, "source": rule.source}
                 for rule in rules.keys],
        "settings": settings,
    }


def text(round_: Round, rules: BenchmarkRules, settings: Mapping[str, Json], limit: int | None) -> str:
    """Everything about a benchmark in a round, for people."""
    return "\n\n".join(part for part in (_summary(round_, rules), _exceptions(rules), _keys(rules, limit),
                                         _settings(rules, settings, limit)) if part)


def _summary(round_: Round, rules: BenchmarkRules) -> str:
    minutes = ", ".join(f"{count:g} min ({division})" for division, count in round_.init_minutes.items())
    facts = {
        "area": rules.area, "data set": rules.dataset, "model": rules.model, "metric": rules.metric,
        "round": f"{round_.name}, {round_.title}" + (f" (logs call it '{rules.log_name}')"
                                                     if rules.log_name != rules.name else ""),
        "target": rules.target_text,
        "runs": f"{rules.runs}; the {rules.drop} fastest and {rules.drop} slowest are left out of the mean; "
                f"{rules.max_failures} may miss the target",
        "evaluations": rules.evaluations.text,
        "initialisation": minutes or "on the clock",
        "convergence": f"{len(rules.references)} reference points, in {rules.convergence_unit}",
    }
    lines = [f"  {name:<15} {value}" for name, value in facts.items()]
    return "\n".join([heading(f"{rules.title} ({rules.name})"), *lines])


def _exceptions(rules: BenchmarkRules) -> str:
    if not rules.excepts:
        return ""
    width = max(map(len, rules.excepts))
    lines = [f"  {key:<{width}}  {reason}" for key, reason in rules.excepts.items()]
    return "\n".join([heading("What this round changes, and why"), *lines])


def _keys(rules: BenchmarkRules, limit: int | None) -> str:
    rows = [(rule.key, COUNTS[rule.count], expected(rule), rule.division, rule.source) for rule in rules.keys]
    return "\n".join([heading("Log keys, in the order of the log"), table(KEY_COLUMNS, rows, limit)])


def expected(rule: KeyRule) -> str:
    """The constraint of a key in words, with its condition."""
    words = str(rule.constraint)
    return words if rule.when is None else f"{words}, if {rule.when.text}"


def _settings(rules: BenchmarkRules, settings: Mapping[str, Json], limit: int | None) -> str:
    if not settings:
        return f"{rules.name} is judged here, not implemented: there is no configuration to show."
    rows = [(name, shown(value)) for name, value in settings.items()]
    return "\n".join([heading(f"Settings (preset {rules.preset}); change one with --set NAME=VALUE"),
                      table((Column("setting"), Column("value")), rows, limit)])


def difference_text(changed: Mapping[str, list[Json]], preset: str, limit: int | None) -> str:
    """Where a preset departs from the reference."""
    if not changed:
        return f"preset {preset} is the reference configuration"
    columns = (Column("setting"), Column(REFERENCE_PRESET, right=True), Column(preset, right=True))
    return table(columns, [(name, shown(old), shown(new)) for name, (old, new) in changed.items()], limit)


def shown(value: Json) -> str:
    """A setting as `--set` takes it."""
    if isinstance(value, list | tuple):
        return ",".join(shown(item) for item in value)
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


