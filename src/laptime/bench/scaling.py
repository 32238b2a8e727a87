"""How much faster several processes train than one: the same global batch, device and threads per process, in turn."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from types import TracebackType

from laptime.bench.estimate import geometric_mean, ratio
from laptime.bench.member import Answer, Case
from laptime.bench.pairs import calls_for, in_turn
from laptime.bench.row import Row, measured, skipped
from laptime.bench.subject import Subject
from laptime.bench.throughput import UNIT, Effort, Tell
from laptime.config import Json, SuitePath
from laptime.errors import UserError
from laptime.harness.place import Meeting, Place, free_port, variables
from laptime.training.distributed.world import World, threads_for

HERE = "127.0.0.1"
QUICK = Effort(pairs=1, block_s=0.0, cases=1, forms=None)


def measure(subject: Subject, world: World, suite: SuitePath, effort: Effort, *, processes: int, threads: int,
            tell: Tell) -> Iterator[Row]:
    """Samples/s of one process and of `processes`, and their ratio. On a CPU of the cheapest case only: of another,
    as many copies as there are processes, and one more, would have to fit into memory."""
    cases = list(subject.comparison.CASES.items())[:1 if world.device.type == "cpu" else effort.cases]
    each = threads_for(threads, processes)
    for name, make in cases:
        batch = make(world.device).global_batch_size
        tell(f"{subject.name} {name} with 1 and {processes} processes")
        case = Case(subject.name, name, world.device.type, each, str(suite.extra or ""))
        yield from _rows(case, f"{subject.name} {name}, batch {batch}", batch, processes, effort)


def _rows(case: Case, what: str, batch: int, processes: int, effort: Effort) -> Iterator[Row]:
    shared: dict[str, Json] = {"batch": batch, "device": case.device, "threads": case.threads}
    try:
        with ExitStack() as stack:
            one, several = (stack.enter_context(Group(case, size)) for size in (1, processes))
            calls = [calls_for(min(group.step(1) for _ in range(3)), effort.block_s) for group in (one, several)]
            found = in_turn(lambda: one.step(calls[0]), lambda: several.step(calls[1]), effort.pairs)
    except UserError as error:
        yield skipped("scale", f"{what}: {processes} processes beside one", "x", str(error))
        return
    for size, times in ((1, found.first), (processes, found.second)):
        rates = geometric_mean([batch / seconds for seconds in times])
        yield measured("scale", f"{what}: {size} process{'es' if size > 1 else ''}", UNIT, rates,
                       details={**shared, "processes": size, "step_ms": 1000 * batch / rates.value})
    yield measured("scale", f"{what}: {processes} processes beside one", "x", ratio(found.first, found.second),
                   details={"pairs": effort.pairs, "calls": list(calls)})


class Group:
    """Processes that train one case together. Raises UserError when one of them cannot."""

    def __init__(self, case: Case, size: int) -> None:
        self._case, self._size = case, size
        self._members: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "Group":
        place, meeting = Place(local=self._size, local_size=self._size), Meeting(HERE, free_port(HERE))
        words = [sys.executable, "-m", "laptime.bench.member", json.dumps(asdict(self._case))]
        for rank in place.ranks:
            self._members.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                                  env=variables(place, rank, meeting)))
        try:
            self._answers()
        except BaseException:
            self._end()
            raise
        return self

    def step(self, calls: int) -> float:
        """Seconds per step of the slowest process, over `calls` steps."""
        for member in self._members:
            assert member.stdin is not None
            member.stdin.write(f"{calls}\n")
            member.stdin.flush()
        return self._answers()

    def _answers(self) -> float:
        answers = [_answer(member) for member in self._members]
        problems = [f"process {rank}: {answer.error}" for rank, answer in enumerate(answers) if answer.error]
        if problems:
            raise UserError("; ".join(problems))
        return max(answer.seconds for answer in answers)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        for member in self._members:
            member.kill()
        for member in self._members:
            member.communicate()


def _answer(member: "subprocess.Popen[str]") -> Answer:
    assert member.stdout is not None
    line = member.stdout.readline()
    return Answer(**json.loads(line)) if line else Answer(error=f"ended with code {member.wait()}")
