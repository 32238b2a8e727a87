"""The starting checkpoint: weights and both moments of Adam, one zarr array per kind of parameter.

The published layout (Megatron-LM reference, FP32 and BF16): folders `language_model.NAME` for weights,
`optimizer.state.exp_avg.language_model.NAME` and `..._sq...` for moments, and in the BF16 form
`optimizer.state.fp32_from_fp16.language_model.NAME` for weights in float32, which are taken where they are there. The
blocks are stacked on axis 0. Matrices are (outputs, inputs); scales of norms are stored minus one. The PaxML form of
the same checkpoint (`mdl_vars.params.lm...`, other axes) is not read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from laptime.errors import DataProblem
from laptime.suite.gpt3 import zarr
from laptime.suite.gpt3.zarr import Array, Zarr

WEIGHT, MASTER = "language_model.", "optimizer.state.fp32_from_fp16.language_model."
MOMENTS = {which: f"optimizer.state.{which}.language_model." for which in ("exp_avg", "exp_avg_sq")}
WHOLE: Mapping[str, str] = {
    "embedding.words": "embedding.word_embeddings", "embedding.places": "embedding.position_embeddings",
    "norm": "encoder.final_layernorm",
}
STACKED: Mapping[str, str] = {
    "norm1": "input_layernorm", "attention.qkv": "self_attention.query_key_value",
    "attention.output": "self_attention.dense", "norm2": "post_attention_layernorm",
    "mlp.up": "mlp.dense_h_to_4h", "mlp.down": "mlp.dense_4h_to_h",
}
BLOCKS = "blocks"


@dataclass(frozen=True)
class Place:
    """Where a parameter lies: its published name and, for a block's, the number of the block."""

    name: str
    block: int | None


def place_of(parameter: str) -> Place:
    """Of a parameter by our name."""
    module, _, kind = parameter.rpartition(".")
    if module in WHOLE:
        return Place(f"{WHOLE[module]}.{kind}", None)
    _, number, inner = module.split(".", 2)
    return Place(f"encoder.layers.{STACKED[inner]}.{kind}", int(number))


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in `folder`. Raises DataProblem where an array is missing or damaged."""

    folder: Path

    def weight(self, parameter: str) -> Array:
        """Of a parameter by our name."""
        master = (self.folder / f"{MASTER}{place_of(parameter).name}").is_dir()
        return self._read(MASTER if master else WEIGHT, parameter)

    def moment(self, which: str, parameter: str) -> Array:
        """`exp_avg` or `exp_avg_sq` of a parameter by our name."""
        return self._read(MOMENTS[which], parameter)

    def _read(self, prefix: str, parameter: str) -> Array:
        place = place_of(parameter)
        array = Zarr.open(self.folder / f"{prefix}{place.name}")
        return array.read() if place.block is None else array.read(place.block)

    def files(self, model: torch.nn.Module) -> Iterator[str]:
        """Every file that `model` needs, by its name inside the folder, after a check of all shapes."""
        for name, shape in stacked_shapes(model).items():
            weight = MASTER if (self.folder / f"{MASTER}{name}").is_dir() else WEIGHT
            for prefix in (weight, *MOMENTS.values()):
                array = Zarr.open(self.folder / f"{prefix}{name}")
                if array.shape != shape:
                    raise DataProblem(f"expected shape {shape} of {array.folder}, found {array.shape}",
                                      hint="This is the checkpoint of another model.")
                yield from (path.relative_to(self.folder).as_posix() for path in array.files())


def stacked_shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Published name -> shape of its array, for a model that may be without storage."""
    parameters = [(place_of(name), tuple(parameter.shape)) for name, parameter in model.named_parameters()]
    blocks = len({place.block for place, _ in parameters if place.block is not None})
    return {place.name: shape if place.block is None else (blocks, *shape) for place, shape in parameters}


def save(folder: Path, values: Mapping[str, Mapping[str, Array]]) -> None:
    """Write a checkpoint. `values`: our parameter name -> {"weight", "exp_avg", "exp_avg_sq"} -> array."""
    prefixes = {"weight": WEIGHT, **MOMENTS}
    for kind, prefix in prefixes.items():
        stacks: dict[str, list[Array]] = {}
        for parameter, arrays in values.items():
            stacks.setdefault(place_of(parameter).name, []).append(arrays[kind])
        for name, parts in stacks.items():
            array = np.stack(parts) if name.startswith("encoder.layers.") else parts[0]
            zarr.write(folder / f"{prefix}{name}", array, _chunks(array.shape, name.startswith("encoder.layers.")))


def _chunks(shape: tuple[int, ...], stacked: bool) -> tuple[int, ...]:
    """As published: a block of its own, and matrices cut in parts along both axes where that is even."""
    head, rest = ((1,), shape[1:]) if stacked else ((), shape)
    return (*head, *(size // 2 if size % 2 == 0 and len(rest) > 1 else size for size in rest))
