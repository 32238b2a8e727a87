"""Rounds as rows: what the rule data says of every benchmark of the rounds that a store holds."""

from collections.abc import Iterable, Iterator

from laptime.config import SuitePath
from laptime.results.comparable import comparable_since
from laptime.results.references import band_rows, reference_rows
from laptime.results.store import OF_ROUND, Row
from laptime.rules.load import load_round, round_names
from laptime.rules.model import BenchmarkRules, Round


def round_rows(names: Iterable[str], suite: SuitePath) -> dict[str, list[Row]]:
    """Rows of the tables about rounds, with the rule file as their origin."""
    known = round_names()
    rows: dict[str, list[Row]] = {table: [] for table in OF_ROUND}
    for name in sorted(set(names) & set(known), key=known.index):
        round_ = load_round(name, suite)
        rows["round"].append((name, known.index(name), round_.kind, round_.title, int(round_.normalised),
                              f"rules/rounds/{name}.toml", 0))
        for rules in round_.benchmarks.values():
            rows["benchmark"].append(_benchmark(round_, rules, suite))
            rows["target"] += _targets(rules)
            rows["reference"] += reference_rows(rules)
            rows["band"] += band_rows(rules)
    return rows


def _benchmark(round_: Round, rules: BenchmarkRules, suite: SuitePath) -> Row:
    return (round_.name, rules.name, rules.log_name, rules.title, rules.area, rules.dataset, rules.model, rules.metric,
            rules.target_text, rules.runs, rules.drop, rules.max_failures, rules.convergence_unit,
            comparable_since(round_, rules.name, suite), _file(rules), 0)


def _targets(rules: BenchmarkRules) -> Iterator[Row]:
    for metric, interval in rules.target.items():
        yield rules.round, rules.name, metric, interval.low, interval.high, _file(rules), 0


def _file(rules: BenchmarkRules) -> str:
    return f"suite/{rules.name}/rules.toml"
