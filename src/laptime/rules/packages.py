"""What a round asks of a whole submission, from `packages.toml`: rows with ranges of rounds, later ones over earlier.

Sources: submission rules, directory structure and system metadata; the official package checkers.
"""

from pathlib import Path
from typing import Literal

from laptime.errors import UserError
from laptime.rules.keys import Scope
from laptime.rules.model import PackageRules
from laptime.rules.schema import Table, read_toml

FILE = Path(__file__).parent / "packages.toml"
LAYOUTS: tuple[Literal["entries", "systems"], ...] = ("entries", "systems")
FIELDS = ("in", "layout", "fields", "may_be_empty", "one_suffices", "joined_as_text", "source_folders", "scripts",
          "other_files", "categories", "switches", "folder_names", "checked", "statuses", "power")
CHECKS = frozenset({"descriptions", "seeds", "convergence", "repository"})


def package_rules(scope: Scope) -> PackageRules:
    """The package rules of the round `scope` is of. Raises UserError for a fault in the file."""
    file = read_toml(FILE)
    merged: dict[str, object] = {}
    for row in file.tables("package"):
        if scope.covers(row):
            merged |= row.data
        for name in FIELDS:
            row.json(name)
        row.close()
    file.close()
    return _rules(Table(merged, file.where))


def _rules(table: Table) -> PackageRules:
    checked = frozenset(table.texts("checked", ()))
    if checked - CHECKS:
        raise UserError(f"{table.where}: expected some of {', '.join(sorted(CHECKS))} in field 'checked', found "
                        f"{', '.join(sorted(checked - CHECKS))}")
    statuses = table.table("statuses")
    return PackageRules(
        layout=table.choice("layout", LAYOUTS, "systems"), fields=table.texts("fields", ()),
        may_be_empty=frozenset(table.texts("may_be_empty", ())), one_suffices=table.texts("one_suffices", ()),
        joined_as_text=table.texts("joined_as_text", ()), source_folders=table.texts("source_folders", ()),
        scripts=table.texts("scripts", ()), other_files=table.texts("other_files", ()),
        categories=table.text_map("categories"),
        switches=table.text_map("switches"), folder_names=table.text_map("folder_names"), checked=checked,
        statuses={name: statuses.texts(name) for name in statuses.data}, power=table.flag("power", False))
