"""Which hyperparameters could be borrowed by whom during review (process facts, section 4).

Once per entry, a submitter may take over the hyperparameters of another submission of the same benchmark as a group;
batch sizes may stay its own. Software and system stay as they were. Entries that failed the convergence check may lend.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from laptime.config import Json
from laptime.submission.evidence import Entry
from laptime.submission.hyperparameters import alike

OWN = re.compile(r"batch|bn_span|norm_span|accumulation|selfplay_games")  # stay the borrower's; games are none


@dataclass(frozen=True)
class Loan:
    """A set of values that `borrower` may take from `lender`. `changes`: name -> (its own value, the lender's)."""

    borrower: Entry
    lender: Entry
    changes: Mapping[str, tuple[Json, Json]]

    @property
    def same_batch(self) -> bool:
        return self.borrower.batch_size == self.lender.batch_size

    @property
    def ratio(self) -> float | None:
        """What the lender needed to converge over what the borrower needed: below 1 there is something to gain."""
        mine, other = self.borrower.convergence, self.lender.convergence
        return other / mine if mine and other else None


def loans(entries: Sequence[Entry], lenders: Sequence[Entry]) -> tuple[Loan, ...]:
    """Every set of values that one of `entries` may take from one of `lenders`, the most useful first."""
    found = [Loan(entry, lender, changes) for entry in entries for lender in lenders
             if may_borrow(entry, lender) and (changes := _changes(entry, lender))]
    return tuple(sorted(found, key=lambda loan: (loan.borrower.place, not loan.same_batch, loan.ratio or 1e9,
                                                 loan.lender.place)))


def may_borrow(entry: Entry, lender: Entry) -> bool:
    """Whether the rules allow it: same round and benchmark, both closed, another submitter, lending not excluded."""
    return (entry.rules is not None and entry.rules.borrowing and bool(entry.hyperparameters)
            and bool(lender.hyperparameters) and entry.submitter != lender.submitter
            and (entry.result.round, entry.result.benchmark) == (lender.result.round, lender.result.benchmark)
            and entry.result.division == lender.result.division == "closed")


def _changes(entry: Entry, lender: Entry) -> dict[str, tuple[Json, Json]]:
    mine, other = entry.hyperparameters, lender.hyperparameters
    names = [name for name in dict.fromkeys([*mine, *other]) if not OWN.search(name)]
    return {name: (mine.get(name), other.get(name)) for name in names if not alike(mine.get(name), other.get(name))}
