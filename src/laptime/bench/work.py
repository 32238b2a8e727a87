"""What one training sample costs: floating-point operations, activations, weights, gradients and optimizer state.

Attention is that of the fused kernel, which keeps no scores; where a causal mask hides half of them, half are counted.
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
from torch.nn import functional as F
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
    except (RuntimeError, NotImplementedError, TypeError):  # a value decides on a shape: then real numbers
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
    with fused_attention(), FlopCounterMode(display=False, custom_mapping=COUNTED) as counter, saved.listening():
        session.loss(session.model, batch.micro[0]).backward()  # type: ignore[no-untyped-call]
    parameters = list(session.model.parameters())
    return Work(counter.get_total_flops() * share, saved.bytes * share * NARROW / WIDE,
                sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad),
                sum(p.numel() * p.element_size() for p in parameters), _optimizer_bytes(session.optimizer),
                len(blocks), handed[-1] * share * NARROW / WIDE, batch.global_size, device.type,
                torch.__version__.split("+")[0])


@contextmanager
def fused_attention() -> Iterator[None]:
    """On the meta device torch takes attention apart; here the fused kernel stands in wherever no mask is given."""
    whole = F.scaled_dot_product_attention

    def fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,  # noqa: PLR0917 (torch's own arguments)
              attn_mask: torch.Tensor | None = None,
              dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
              enable_gqa: bool = False) -> torch.Tensor:
        if q.device.type != "meta" or attn_mask is not None or q.dim() != 4:
            return whole(q, k, v, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
        heads = q.shape[1] // k.shape[1]  # grouped heads are read again by the kernel, not copied
        k, v = (one.unsqueeze(2).expand(-1, -1, heads, -1, -1).flatten(1, 2) if heads > 1 else one for one in (k, v))
        found: torch.Tensor = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, is_causal)[0]
        return found

    F.scaled_dot_product_attention = fused  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = whole


def _attention(q: Sequence[int], k: Sequence[int], *, causal: bool) -> int:
    """Operations of both products of (B, N, S, D) and (B, N, T, D), forward."""
    batch, heads, length, width = q
    return 4 * batch * heads * length * k[2] * width // (2 if causal else 1)


def _forward(q: Sequence[int], k: Sequence[int], v: Sequence[int], dropout: float = 0.0, causal: bool = False,
             *rest: object, out_shape: object = None, **named: object) -> int:
    return _attention(q, k, causal=causal)


def _backward(gradient: object, q: Sequence[int], k: Sequence[int], *rest: object, out_shape: object = None,
              **named: object) -> int:
    """Four products; the scores that the kernel computes again are not the model's."""
    causal = rest[CAUSAL_OF_REST]
    return 2 * _attention(q, k, causal=bool(causal))


CAUSAL_OF_REST = 8  # v, out, logsumexp, two cumulative lengths, two longest lengths, dropout, is_causal
COUNTED = {torch.ops.aten._scaled_dot_product_flash_attention: _forward,
           torch.ops.aten._scaled_dot_product_flash_attention_backward: _backward}


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
