"""Documents say what the program does: reference pages are the program's own, links lead somewhere, examples work."""

import re
import shlex
from pathlib import Path

import pytest

from laptime.cli.explain import every_rule
from laptime.cli.main import COMMANDS, main
from laptime.cli.reference import commands_page, every_command, rules_page
from laptime.compliance.catalogue import CATALOGUE
from laptime.config import SuitePath
from laptime.suite import folders

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
CHEAP = ("laptime list", "laptime show", "laptime rcp show", "laptime doctor", "laptime explain")  # the others train or need runs


def document(name: str) -> str:
    return (ROOT / name).read_text()


def test_reference_page_does_not_depend_on_who_asked_a_command_first():
    _, run = next(pair for pair in every_command() if pair[0][-1] == "run")
    before = commands_page()
    run._help_option = None
    run.make_context("run", ["resnet"])  # without the program, so without its -h
    assert commands_page() == before


@pytest.mark.parametrize(("name", "page"), [("docs/commands.md", commands_page), ("docs/rules.md", rules_page)])
def test_reference_page_is_what_the_program_says(name, page):
    assert document(name) == page(), f"{name} is out of date: run `make docs`"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name):
    assert re.search(rf"^## laptime {name}\b", document("docs/commands.md"), re.M)
    assert f"`{name}`" in document("CHANGELOG.md")


@pytest.mark.parametrize("rule", CATALOGUE)
def test_every_rule_of_the_judge_is_documented(rule):
    assert f"### {rule}\n" in document("docs/rules.md")


def test_every_key_rule_is_documented():
    page = document("docs/rules.md")
    assert not {rule.id for _, _, rule in every_rule(SuitePath()) if f"`{rule.id}`" not in page}


def test_readme_lists_every_benchmark_that_runs():
    running = [name for name, folder in folders().items() if (folder / "benchmark.py").is_file()]
    assert not [name for name in running if f"[`{name}`](src/laptime/suite/{name})" not in document("README.md")]


def test_architecture_describes_every_package():
    top = {path.stem for path in (ROOT / "src/laptime").iterdir() if path.suffix in ("", ".py")} - {"__init__", "__main__", "py", "__pycache__"}
    table = document("docs/architecture.md").split("## Packages")[1].split("##")[0]
    assert not {name for name in top if not re.search(rf"`{name}(/NAME)?`", table)}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_make_targets_in_documents_exist(page):
    targets = set(re.findall(r"^(\w+):", document("Makefile"), re.M))
    assert set(re.findall(r"`make (\w+)`|^make (\w+)", page.read_text(), re.M)) <= {(name, "") for name in targets} | {("", name) for name in targets}


@pytest.mark.parametrize("example", [command.epilog.removeprefix("Example: laptime ") for words, command in every_command()
                                     if command.epilog and " ".join(words) in CHEAP])
def test_example_of_a_command_works_as_typed(example, capsys):
    assert main(shlex.split(example)) == 0
    assert capsys.readouterr().out
