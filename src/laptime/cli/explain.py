"""`laptime explain`: a rule of the judge, or a log key with everything that rounds ask of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import click

from laptime.cli.list import spans
from laptime.cli.options import json_option, suite_option
from laptime.cli.show import COUNTS, expected
from laptime.cli.terminal import Column, heading, say, say_json, table, width
from laptime.compliance.catalogue import CATALOGUE, RuleText
from laptime.config import SuitePath, nearest
from laptime.errors import UnknownName
from laptime.rules.load import load_round, round_names
from laptime.rules.model import KeyRule
from laptime.rules.ranges import is_official

COLUMNS = tuple(map(Column, ("rule", "rounds", "benchmark", "count", "expected", "division", "source")))
EVERY = "all"


@dataclass(frozen=True)
class Demand:
    """What a key rule asks, and where. `benchmark`: "all" for what rounds ask of every benchmark."""

    rule: str
    key: str
    benchmark: str
    count: str
    expected: str
    division: str
    authority: str
    source: str


@click.command("explain", epilog="Example: laptime explain init-limit")
@click.argument("word", metavar="RULE|KEY")
@suite_option
@json_option
def command(*, word: str, suite: SuitePath, as_json: bool) -> None:
    """What a RULE in a finding demands, why, and how to obey it; or what rounds ask of a log KEY."""
    if word in CATALOGUE:
        rule = CATALOGUE[word]
        if as_json:
            say_json({"rule": word, "title": rule.title, "demands": rule.demands, "why": rule.why,
                      "source": rule.source, "fix": rule.fix})
        else:
            say(rule_text(word, rule))
        return
    found = demands(word, suite)
    if not found:
        known = [*CATALOGUE, *every_key(suite)]
        raise UnknownName(f"unknown rule or key '{word}'.{nearest(word, known)}", hint="Findings name their rule.")
    if as_json:
        say_json([{**vars(demand), "rounds": rounds} for demand, rounds in found.items()])
    else:
        say(key_text(word, found, width()))


def rule_text(name: str, rule: RuleText) -> str:
    """A rule of the judge in words."""
    return "\n".join([heading(f"{name}: {rule.title}"), f"  demands  {rule.demands}", f"  why      {rule.why}",
                      f"  source   {rule.source}", f"  fix      {rule.fix}"])


def demands(word: str, suite: SuitePath) -> dict[Demand, list[str]]:
    """Everything that rounds ask under this key or rule id, each with its rounds."""
    found: dict[Demand, list[str]] = {}
    for round_name, benchmark, rule in every_rule(suite):
        if word in (rule.key, rule.id):
            demand = Demand(rule.id, rule.key, EVERY if rule.common else benchmark, COUNTS[rule.count], expected(rule),
                            rule.division, rule.authority, rule.source)
            rounds = found.setdefault(demand, [])
            if round_name not in rounds:
                rounds.append(round_name)
    return found


def every_rule(suite: SuitePath) -> Iterator[tuple[str, str, KeyRule]]:
    """(round, benchmark, rule) of all rule data."""
    for name in round_names():
        for benchmark, rules in load_round(name, suite).benchmarks.items():
            yield from ((name, benchmark, rule) for rule in rules.keys)


def every_key(suite: SuitePath) -> list[str]:
    """Every key and id of key rules, sorted."""
    return sorted({name for _, _, rule in every_rule(suite) for name in (rule.key, rule.id)})


def key_text(word: str, found: dict[Demand, list[str]], limit: int | None) -> str:
    """What rounds ask of a key, for people."""
    rows = [(demand.rule, everywhere(rounds), demand.benchmark, demand.count, demand.expected, demand.division,
             demand.source) for demand, rounds in found.items()]
    return "\n".join([heading(f"{word}: a log key"), table(COLUMNS, rows, limit)])


def everywhere(rounds: list[str]) -> str:
    """Official rounds as spans, then the others by name."""
    official = tuple(name for name in rounds if is_official(name))
    others = [name for name in rounds if name not in official]
    return ", ".join(([spans(official)] if official else []) + others)
