"""The order of a log as the official checker of v0.6 tested it, line by line; later checkers test none of it.

For level "official" in rounds of strict structure (table of log keys, v0.6 rows). Level "rules" says the same in other
words: order.py and numbering.py.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from laptime.compliance.finding import Finding
from laptime.compliance.run import Run, number
from laptime.log.record import Record


@dataclass
class _State:
    """What is open and how far the run is. Positions are numbers of epochs."""

    initialised: bool = False
    started: bool = False
    stopped: bool = False
    in_epoch: bool = False
    in_eval: bool = False
    told: bool = True  # the last evaluation gave its accuracy
    epoch: float = 0.0  # the last one that began
    evaluated: float = 0.0
    block: float | None = None  # the first epoch of the open one


def check_strict_order(run: Run) -> Iterator[Finding]:
    """Each line that comes where the checker of the round did not allow it."""
    if not (run.round.strict_structure and run.round.has_checker) or run.level != "official":
        return
    state = _State()
    for record in run.log.records:
        moment = run.moments.get(record.key, "")
        test = _TESTS.get(moment)
        if test is None:
            continue
        if not test(state, record):
            yield run.finding(_RULES[moment], f"{record.key} comes where the checker of this round does not allow it",
                              record.line)
        _advance(state, moment, record)


def _at(record: Record, name: str = "epoch_num") -> float | None:
    return number(record.metadata.get(name))


def _eval_starts(state: _State, record: Record) -> bool:
    at = _at(record)
    return state.started and not state.stopped and not state.in_eval and state.told and at is not None \
        and state.evaluated < at <= state.epoch


def _block_starts(state: _State, record: Record) -> bool:
    first = _at(record, "first_epoch_num")
    wanted = state.evaluated if state.in_epoch else state.epoch + 1
    return state.started and not state.stopped and state.block is None and first == wanted


_TESTS: Mapping[str, Callable[[_State, Record], bool]] = {
    "cache_clear": lambda state, record: not state.initialised,
    "epoch_start": lambda state, record: state.started and not state.stopped and not state.in_epoch
    and _at(record) == state.epoch + 1,
    "epoch_stop": lambda state, record: state.in_epoch and _at(record) == state.epoch,
    "eval_start": _eval_starts,
    "eval_stop": lambda state, record: state.in_eval and _at(record) == state.evaluated,
    "eval_accuracy": lambda state, record: _at(record) == state.evaluated,
    "block_start": _block_starts,
    "block_stop": lambda state, record: state.block is not None and state.told
    and _at(record, "first_epoch_num") == state.block,
    "run_stop": lambda state, record: not state.in_eval,
    "init_start": lambda state, record: True, "run_start": lambda state, record: True,
}
_RULES: Mapping[str, str] = {
    "cache_clear": "cache-order", "epoch_start": "epoch-numbers", "epoch_stop": "interval-pairs",
    "eval_start": "eval-position", "eval_stop": "interval-pairs", "eval_accuracy": "eval-outside",
    "block_start": "block-numbers", "block_stop": "interval-pairs", "run_stop": "interval-pairs",
}


def _advance(state: _State, moment: str, record: Record) -> None:
    if moment == "init_start":
        state.initialised = True
    elif moment == "run_start":
        state.started = True
    elif moment == "run_stop":
        state.stopped = True
    elif moment == "epoch_start":
        state.in_epoch, state.epoch = True, _at(record) or state.epoch
    elif moment == "epoch_stop":
        state.in_epoch = False
    elif moment == "eval_start":
        state.in_eval, state.told, state.evaluated = True, False, _at(record) or state.evaluated
    elif moment == "eval_stop":
        state.in_eval = False
    elif moment == "eval_accuracy":
        state.told = True
    elif moment == "block_start":
        state.told, state.block = True, _at(record, "first_epoch_num")
    elif moment == "block_stop":
        state.block = None
