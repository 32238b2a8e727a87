"""Before a run: the request resolved against rules, suite and data, and the plan computed from rule formulas."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from laptime.benchmark import Benchmark
from laptime.config import Config, Json, RunRequest, flat, nearest, override
from laptime.errors import IllegalRun, InvalidConfiguration, UnknownName
from laptime.events import Cadence, Plan, Point, Sizes
from laptime.rules.formula import Formula
from laptime.rules.load import load_round
from laptime.rules.model import BenchmarkRules, Evaluations, Round
from laptime.suite import load
from laptime.training.distributed.layout import check, check_speed, data_processes

ALWAYS_FREE = ("parallel.*", "speed.*")  # how a run is computed, not what
HARNESS_LIMIT_EPOCHS = 1000.0  # where neither rules nor configuration say when to give up


@dataclass(frozen=True)
class Preflight:
    """A request with everything it names looked up."""

    request: RunRequest
    round: Round
    rules: BenchmarkRules
    benchmark: Benchmark[Config]
    config: Config


def resolve(request: RunRequest) -> Preflight:
    """Look up round, benchmark and preset, and apply the overrides. Raises UserErrors that offer the nearest name."""
    round_ = load_round(request.round, request.suite)
    rules = rules_of(round_, request)
    benchmark: Benchmark[Config] = load(request.benchmark, "benchmark", request.suite).BENCHMARK
    if request.save_every_s and not benchmark.resumes:
        raise InvalidConfiguration(f"expected no --save-every for '{request.benchmark}', whose sessions start anew",
                                   hint="Run it without; a set goes on with the runs that are missing all the same.")
    preset = benchmark.presets[rules.preset]()
    config = override(preset, request.overrides)
    layout = benchmark.layout(config)
    check(config.parallel, layout, request.processes)
    check_speed(config.speed, config.parallel, layout)
    benchmark.validate(config, data_processes(config.parallel, request.processes))
    if request.division == "closed" and request.seed is None:
        refuse_illegal([*_fixed_settings(rules, preset, config), *_allowed_settings(rules, config)], rules)
    return Preflight(request, round_, rules, benchmark, config)


def rules_of(round_: Round, request: RunRequest) -> BenchmarkRules:
    """The rules of the requested benchmark in `round_`. Raises UnknownName."""
    load(request.benchmark, "config", request.suite)  # an unknown benchmark is reported as such, whatever the round
    if request.benchmark not in round_.benchmarks:
        raise UnknownName(f"benchmark '{request.benchmark}' is not part of round {round_.name}",
                          hint=f"This round has: {', '.join(sorted(round_.benchmarks)) or 'none that we know'}.")
    if request.division not in round_.divisions:
        raise UnknownName(f"division '{request.division}' is not part of round {round_.name}."
                          f"{nearest(request.division, round_.divisions)}")
    if round_.statuses and request.status not in round_.statuses:
        raise UnknownName(f"status '{request.status}' is unknown in round {round_.name}."
                          f"{nearest(request.status, round_.statuses)}", hint=f"Known: {', '.join(round_.statuses)}.")
    return round_.benchmarks[request.benchmark]


def make_plan(rules: BenchmarkRules, config: Config, sizes: Sizes) -> Plan:
    """Evaluation points and limit: rule formulas over the configuration's root values and the sizes."""
    names = numbers(config) | {name: value for name, value in vars_of(sizes).items() if value is not None}
    limits = [value for value in (sizes.limit_epochs, _limit(rules, names)) if value is not None]
    limit = Point(min(limits, default=HARNESS_LIMIT_EPOCHS), "epochs")
    if sizes.limit_samples is not None:
        limit = Point(sizes.limit_samples, "samples")
    return Plan(config.global_batch_size, limit, _cadence(rules.evaluations, names), sizes)


def check_hyperparameters(rules: BenchmarkRules, values: Mapping[str, Json], division: str) -> list[str]:
    """Violations of the round's constraints by live values, in words; empty when the run is legal."""
    found = []
    for rule in rules.keys:
        if rule.name not in values or not rule.applies(division, "both", values):
            continue
        problem = rule.constraint.violation(values[rule.name], {**values, rule.key: values[rule.name]})
        if problem:
            found.append(f"{rule.key} {problem} ({rule.source})")
    return found


def refuse_illegal(violations: list[str], rules: BenchmarkRules) -> None:
    """A closed run that breaks its round's constraints does not start. Raises IllegalRun."""
    if violations:
        raise IllegalRun(f"this configuration is not legal in the closed division of round {rules.round}: "
                         + "; ".join(violations),
                         hint="Change the setting, or run with --division open or a fixed --seed (not submittable).")


def numbers(config: Config) -> dict[str, object]:
    """The numeric settings at the root of a configuration, for formulas."""
    fields = [f.name for f in dataclasses.fields(config)]  # type: ignore[arg-type]
    return {name: getattr(config, name) for name in fields if isinstance(getattr(config, name), int | float)}


def vars_of(sizes: Sizes) -> dict[str, object]:
    return {f.name: getattr(sizes, f.name) for f in dataclasses.fields(sizes)}


def _limit(rules: BenchmarkRules, names: Mapping[str, object]) -> float | None:
    return None if rules.limit is None else _number(rules.limit, names)


def _cadence(evaluations: Evaluations, names: Mapping[str, object]) -> Cadence:
    points = tuple(math.ceil(_number(point, names)) for point in evaluations.points)
    step = 0 if evaluations.step is None else math.ceil(_number(evaluations.step, names))
    if not points or list(points) != sorted(set(points)):
        raise InvalidConfiguration(f"expected increasing evaluation points, found {points}")
    return Cadence(evaluations.unit, points, step)


def _number(formula: Formula, names: Mapping[str, object]) -> float:
    value = formula.value(names)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidConfiguration(f"expected a number from the rule '{formula.text}', found {value!r}")
    return value


def _fixed_settings(rules: BenchmarkRules, preset: Config, config: Config) -> list[str]:
    """Settings that a closed run changed although the rules leave them to the reference."""
    mine, theirs = flat(config), flat(preset)
    patterns = (*rules.free, *ALWAYS_FREE)
    return [f"{name} is {mine[name]}, expected {theirs[name]} as in the reference" for name in mine
            if mine[name] != theirs[name] and not any(fnmatchcase(name, pattern) for pattern in patterns)]


def _allowed_settings(rules: BenchmarkRules, config: Config) -> list[str]:
    """Settings out of the range that the rules give them although no log line carries them."""
    names, found = numbers(config), []
    for name, constraint in rules.settings.items():
        value = names.get(name)
        problem = constraint.violation(value if isinstance(value, int | float) else None, names)
        if problem:
            found.append(f"{name} {problem}")
    return found
