"""What one training sample costs: floating-point operations, activations, weights, gradients and optimizer state.

Measured on the benchmark itself, `python -m laptime.bench.work NAME...`, and kept in `suite/<name>/work.json`, so that
planning needs neither torch nor an accelerator. Operations are those of matrix products and convolutions, forward and
backward, with nothing computed twice (training rules, appendix "Utilization": model operations only).
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.utils.flop_counter import FlopCounterMode

from laptime.bench.subject import Subject, built, subjects, synthetic_store
from laptime.config import Config, SuitePath, override
from laptime.errors import UserError
from laptime.suite import BUILT_IN
from laptime.training.distributed.world import World
from laptime.training.loop import Supervised

FILE = "work.json"
WIDE, NARROW = 4, 2  # bytes of a number in float32, in which work is measured, and in bfloat16, in which it runs
PLAIN = ("speed.dtype=float32", "speed.compile=off")


@dataclass(frozen=True)
class Work:
    """Of one sample, and of the whole model. Bytes of activations are those of a bfloat16 run.

    blocks, block_bytes_per_sample: how many blocks the model names, and what one hands to the next; 0 without blocks.
    measured_on: "meta" (shapes alone) or "cpu", for models whose shapes depend on values.
    """

    flop_per_sample: float
    activation_bytes_per_sample: float
    parameters: int
    trained_parameters: int
    parameter_bytes: int
    optimizer_bytes: int
    blocks: int
    block_bytes_per_sample: float
    samples: int
    measured_on: str
    torch: str


def measure(subject: Subject) -> Work:
    """The work of the full preset. Raises UserError for a benchmark whose loop cannot be taken apart."""
    try:
        return _on(subject, torch.device("meta"))
    except (RuntimeError, NotImplementedError):  # a value decides on a shape: then real numbers, of few samples
        return _on(subject, torch.device("cpu"))


def _on(subject: Subject, device: torch.device) -> Work:
    config = override(case(subject), PLAIN)
    with TemporaryDirectory(prefix="laptime-work-") as folder, device:
        store = synthetic_store(subject, config, Path(folder))
        session = built(subject, config, World(0, 1, device), store, Path(folder))
        return _measured(session, subject.benchmark.layout(config).blocks, device)


def case(subject: Subject) -> Config:
    """The configuration measured: WORK() of the peer file, else its largest case as it suits a CPU."""
    own = getattr(subject.comparison, "WORK", None)
    if own is not None:
        made: Config = own()
        return made
    return list(subject.comparison.CASES.values())[-1](torch.device("cpu"))


def _measured(session: Supervised[object], blocks: Sequence[str], device: torch.device) -> Work:
    batch = next(session.synthetic())
    share = len(batch.micro) / batch.global_size
    saved, handed = Saved(session.model), [0]
    if blocks:
        session.model.get_submodule(blocks[0]).register_forward_hook(
            lambda module, inputs, output: handed.append(output.untyped_storage().nbytes()))
    with FlopCounterMode(display=False) as counter, saved.listening():
        session.loss(session.model, batch.micro[0]).backward()  # type: ignore[no-untyped-call]
    parameters = list(session.model.parameters())
    return Work(counter.get_total_flops() * share, saved.bytes * share * NARROW / WIDE,
                sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad),
                sum(p.numel() * p.element_size() for p in parameters), _optimizer_bytes(session.optimizer),
                len(blocks), handed[-1] * share * NARROW / WIDE, batch.global_size, device.type,
                torch.__version__.split("+")[0])


def _optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    values = [value for state in optimizer.state.values() for value in state.values()]
    return sum(v.numel() * v.element_size() for v in values if isinstance(v, torch.Tensor))


class Saved:
    """Tensors that the forward pass keeps for the backward pass, each storage once, weights left out."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.bytes = 0.0
        self._seen = {p.untyped_storage()._cdata for p in model.parameters()}
        self._kept: list[torch.Tensor] = []  # alive, so that no storage's number is given twice

    @contextmanager
    def listening(self) -> Iterator[None]:
        with torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor):
            yield

    def _keep(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._kept.append(tensor)
            self.bytes += storage.nbytes()
        return tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--suite", type=Path, help="folder with benchmarks of your own")
    arguments = parser.parse_args()
    suite = SuitePath(arguments.suite) if arguments.suite else BUILT_IN
    for subject in subjects(tuple(arguments.names), suite):
        try:
            text = json.dumps(asdict(measure(subject)), indent=1) + "\n"
        except UserError as error:
            raise SystemExit(f"{subject.name}: {error}") from None
        (subject.folder / FILE).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
