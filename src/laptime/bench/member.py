"""One of the processes that train together for a measurement: `python -m laptime.bench.member` with a Case as JSON.

Reads numbers of steps from its standard input, a line each, makes them with the others and answers with seconds per
step. The first answer says that it is ready. What goes wrong is an answer too.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

import torch

from laptime.bench.pairs import Step, timed
from laptime.bench.subject import Subject, built, step_of, subjects, synthetic_store
from laptime.config import SuitePath
from laptime.errors import UserError
from laptime.training.distributed.arrange import arrange
from laptime.training.distributed.world import World, join, leave

WARM_STEPS = 3  # compile, allocate, and one as it goes on
TIMEOUT_S = 600.0  # of a collective


@dataclass(frozen=True)
class Case:
    """What is trained. `extra`: a folder of benchmarks from outside, "" for none; `threads` of each process."""

    benchmark: str
    case: str
    device: str
    threads: int
    extra: str = ""


@dataclass(frozen=True)
class Answer:
    """Seconds per step, or in words why there are none."""

    seconds: float = 0.0
    error: str = ""


def main(words: Sequence[str]) -> int:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    case = Case(**json.loads(words[0]))
    torch.set_num_threads(case.threads)
    try:
        with TemporaryDirectory(prefix="laptime-bench-") as folder:
            _serve(case, Path(folder), answers)
    except UserError as error:
        _say(answers, Answer(error=str(error)))
    except RuntimeError as error:  # a process of the group ended, or memory did
        _say(answers, Answer(error=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"))
    return 0


def _serve(case: Case, folder: Path, answers: TextIO) -> None:
    subject = _subject(case)
    config = subject.comparison.CASES[case.case](torch.device(case.device.partition(":")[0]))
    world = arrange(join(case.device, TIMEOUT_S), config.parallel, TIMEOUT_S)
    session = built(subject, config, world, synthetic_store(subject, config, folder), folder)
    for seconds in _times(step_of(session), world):
        _say(answers, Answer(seconds))
    leave(world)


def _subject(case: Case) -> Subject:
    return subjects((case.benchmark,), SuitePath(Path(case.extra)) if case.extra else SuitePath())[0]


def _times(step: Step, world: World) -> Iterator[float]:
    yield timed(step, WARM_STEPS, world.synchronise)
    for line in sys.stdin:
        world.barrier()  # all begin together
        yield timed(step, int(line), world.synchronise)


def _say(answers: TextIO, answer: Answer) -> None:
    answers.write(json.dumps(asdict(answer)) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
