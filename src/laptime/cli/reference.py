"""The reference pages of the documentation, written from the program itself: docs/commands.md and docs/rules.md.

`python -m laptime.cli.reference docs` writes them; a test compares them with what is committed.
"""

import sys
from collections.abc import Iterator
from copy import copy
from pathlib import Path

import click

from laptime.cli.explain import every_rule
from laptime.cli.main import COMMANDS, program
from laptime.compliance.catalogue import CATALOGUE
from laptime.compliance.quirks import QUIRKS
from laptime.config import SuitePath

MADE_BY = "<!-- Written by `make docs`; change the program, not this page. -->"
PAGE_WIDTH = 100


def commands_page() -> str:
    """Every command with its help, in the order of the work."""
    parts = ["# Commands", MADE_BY, INTRODUCTION]
    for path, command in every_command():
        title = " ".join(path)
        parts += [f"## {title}", f"```text\n{_help(command, title)}\n```"]
    return "\n\n".join(parts) + "\n"


def rules_page() -> str:
    """Every rule of the judge, then the key rules of all rounds by key."""
    parts = ["# Rules", MADE_BY, RULES_INTRODUCTION, "## Rules of the judge"]
    for name, rule in CATALOGUE.items():
        parts.append(f"### {name}\n\n**{rule.title}.** {rule.demands}\n\n"
                     f"- why: {rule.why}\n- source: {rule.source}\n- what to do: {rule.fix}"
                     + (f"\n- the official checker: {QUIRKS[name]}" if name in QUIRKS else ""))
    ids: dict[str, set[str]] = {}
    for _, _, key_rule in every_rule(SuitePath()):
        ids.setdefault(key_rule.key, set()).add(key_rule.id)
    rows = [f"| `{key}` | {', '.join(f'`{one}`' for one in sorted(names))} |" for key, names in sorted(ids.items())]
    parts += ["## Key rules", KEYS_INTRODUCTION, "\n".join(["| key | rules |", "| --- | --- |", *rows])]
    return "\n\n".join(parts) + "\n"


def every_command() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """(words on the command line, command) of every command, groups entered."""
    context = click.Context(program, info_name="laptime")
    for name in COMMANDS:
        found = program.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from (((program.name or "", name, inner), found.commands[inner]) for inner in sorted(found.commands))
        else:
            yield (program.name or "", name), found


def _help(command: click.Command, title: str) -> str:
    command = copy(command)
    command._help_option = None  # click keeps the one of whoever asked first, who may have had no -h
    context = click.Context(command, info_name=title, max_content_width=PAGE_WIDTH, terminal_width=PAGE_WIDTH,
                            help_option_names=list(program.context_settings["help_option_names"]))
    return command.get_help(context).rstrip()


INTRODUCTION = """\
stdout carries the answer, stderr what goes on meanwhile; `--json` gives the same answer to programs.

| exit code | meaning |
| --- | --- |
| 0 | fine |
| 1 | findings: a check or a run's hyperparameters do not satisfy the rules |
| 2 | wrong use: an unknown name, a value that cannot be, a file that is not there |
| 3 | runs that did not reach the target, more than the round forgives |
| 4 | a run failed, or a bug |
| 130, 143 | stopped by Ctrl-C, by SIGTERM; finished runs are kept |"""

RULES_INTRODUCTION = """\
`laptime check` prints findings as a compiler does: `file:line: severity rule: message (source)`. The rule is one of the
names on this page; `laptime explain NAME` says the same in the terminal."""

KEYS_INTRODUCTION = """\
What logs must carry and which values are allowed is data: `rules/rounds/*.toml` for every benchmark of a round,
`suite/*/rules.toml` for one benchmark. `laptime explain KEY` shows what each round asks of a key, `laptime show NAME
--round R` all keys of a benchmark in a round."""


def main() -> None:
    """Write both pages into the folder that the command line names."""
    folder = Path(sys.argv[1])
    (folder / "commands.md").write_text(commands_page())
    (folder / "rules.md").write_text(rules_page())


if __name__ == "__main__":
    main()
