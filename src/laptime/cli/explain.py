"""`laptime explain`: a rule of the judge, or a log key with everything that rounds ask of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import click

from laptime.cli.list import spans
from laptime.cli.options import json_option, round_option, suite_option
from laptime.cli.show import COUNTS, expected
from laptime.cli.terminal import Column, heading, say, say_json, table, width
from laptime.compliance.catalogue import CATALOGUE, RuleText
from laptime.compliance.quirks import QUIRKS, quirk_of
from laptime.config import SuitePath, nearest
from laptime.errors import UnknownName
from laptime.rules.load import load_round, resolve, round_names
from laptime.rules.model import KeyRule
from laptime.rules.ranges import is_official

COLUMNS = tuple(map(Column, ("rule", "rounds", "benchmark", "count", "expected", "division", "asked by", "source")))
ASKED_BY = {"rules": "rules text", "checker": "official checker", "both": "both"}
SAME = "the same, as far as is known"
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
    severity: str
    source: str


@click.command("explain", epilog="Example: laptime explain init-limit")
@click.argument("word", metavar="RULE|KEY")
@round_option(None, "Only what this round asks.  [default: every round]")
@suite_option
@json_option
def command(*, word: str, round_name: str | None, suite: SuitePath, as_json: bool) -> None:
    """What a RULE in a finding demands, why, and how to obey it; or what rounds ask of a log KEY.

    Says who asks, the text of the rules or the official checker, and what the latter does otherwise.
    """
    if word in CATALOGUE:
        rule = CATALOGUE[word]
        if as_json:
            say_json({"rule": word, "title": rule.title, "demands": rule.demands, "why": rule.why,
                      "source": rule.source, "fix": rule.fix, "official": QUIRKS.get(word, SAME)})
        else:
            say(rule_text(word, rule))
        return
    found = demands(word, suite, round_name)
    if not found:
        known = [*CATALOGUE, *every_key(suite)]
        raise UnknownName(f"unknown rule or key '{word}'.{nearest(word, known)}", hint="Findings name their rule.")
    if as_json:
        say_json([{**vars(demand), "rounds": rounds, "official": quirk(word, demand)}
                  for demand, rounds in found.items()])
    else:
        say(key_text(word, found, width()))


def rule_text(name: str, rule: RuleText) -> str:
    """A rule of the judge in words."""
    return "\n".join([heading(f"{name}: {rule.title}"), f"  demands  {rule.demands}", f"  why      {rule.why}",
                      f"  source   {rule.source}", f"  fix      {rule.fix}",
                      f"  official {QUIRKS.get(name, SAME)}"])


def demands(word: str, suite: SuitePath, round_name: str | None = None) -> dict[Demand, list[str]]:
    """Everything that rounds ask under this key or rule id, each with its rounds."""
    found: dict[Demand, list[str]] = {}
    only = None if round_name is None else resolve(round_name)
    for name, benchmark, rule in every_rule(suite):
        if word in (rule.key, rule.id) and only in (None, name):
            rounds = found.setdefault(_demand(rule, benchmark), [])
            if name not in rounds:
                rounds.append(name)
    return found


def _demand(rule: KeyRule, benchmark: str) -> Demand:
    count = COUNTS[rule.count] + (f", or {rule.or_key}" if rule.or_key else "")
    return Demand(rule.id, rule.key, EVERY if rule.common else benchmark, count, expected(rule), rule.division,
                  rule.authority, rule.severity, rule.source)


def quirk(word: str, demand: Demand) -> str:
    """What the official checker does otherwise with a key."""
    return QUIRKS.get(word) or quirk_of(demand.rule, demand.key) or SAME


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
    rows = [(demand.rule, everywhere(rounds), demand.benchmark, demand.count,
             demand.expected + (" (else a warning)" if demand.severity == "warning" else ""), demand.division,
             ASKED_BY[demand.authority], demand.source) for demand, rounds in found.items()]
    quirks = dict.fromkeys(quirk(word, demand) for demand in found)
    return "\n".join([heading(f"{word}: a log key"), table(COLUMNS, rows, limit), "",
                      *(f"official checker: {words}" for words in quirks)])


def everywhere(rounds: list[str]) -> str:
    """Official rounds as spans, then the others by name."""
    official = tuple(name for name in rounds if is_official(name))
    others = [name for name in rounds if name not in official]
    return ", ".join(([spans(official)] if official else []) + others)
