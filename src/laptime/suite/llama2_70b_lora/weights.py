"""Values of the network's parameters: frozen ones from a checkpoint, adapters drawn, constants of dropout.

A checkpoint is the published one, whose attention has one tensor `qkv_proj` (rows of queries, then of keys, then of
values: reference, modeling_llama.py), or one in which the three stand apart, as the authors of Llama 2 published it.
"""

import math

import torch

from laptime.errors import DataProblem
from laptime.suite.llama2_70b_lora.model import AdaptedLlama, Adapter, is_adapter
from laptime.training.data.safetensors_files import Checkpoint
from laptime.training.distributed.pieces import write
from laptime.training.distributed.world import World
from laptime.training.nn.keyed_dropout import constants
from laptime.training.nn.llama import is_norm, whole_shape
from laptime.training.nn.llama_checkpoint import parameter_names
from laptime.training.nn.llama_config import LlamaConfig
from laptime.training.seeds import Seeds

PARTS = ("q_proj", "k_proj", "v_proj")  # of the fused tensor, in the order of its rows
FUSED = "qkv_proj"


def check_frozen(config: LlamaConfig, checkpoint: Checkpoint) -> None:
    """Raises DataProblem for a missing tensor, and for one of another shape. Reads no weights."""
    for name in parameter_names(config):
        expected, source = whole_shape(name, config), name
        if (part := _part(name)) is not None and checkpoint.shape(name) is None:
            source = name.replace(part, FUSED)
            expected = (sum(_rows(config)), config.hidden)
        if (found := checkpoint.shape(source)) != expected:
            raise DataProblem(f"expected shape {expected} of '{source}' in the checkpoint, found {found}",
                              hint="Is this the checkpoint of another network?")


def frozen_tensor(name: str, config: LlamaConfig, checkpoint: Checkpoint) -> torch.Tensor:
    """The whole value of a frozen parameter. Raises DataProblem where there is none."""
    part = _part(name)
    if part is None or checkpoint.shape(name) is not None:
        return checkpoint.tensor(name)
    fused = checkpoint.tensor(name.replace(part, FUSED))
    return fused.split(_rows(config))[PARTS.index(part)]


def load_frozen(model: AdaptedLlama, checkpoint: Checkpoint) -> None:
    """Write frozen weights, as much of them as this process has, in the dtype that they have. Raises DataProblem."""
    for name, parameter in model.named_parameters():
        if not is_adapter(name) and not parameter.is_meta:
            write(parameter, frozen_tensor(name, model.config, checkpoint))


def draw_frozen(model: AdaptedLlama, seeds: Seeds) -> None:
    """Normal weights and unit norms, where there is no checkpoint: a described data set, or the planted fault."""
    for name, parameter in model.named_parameters():
        if is_adapter(name) or parameter.is_meta:
            continue
        whole = torch.ones(whole_shape(name, model.config), device="cpu")
        write(parameter, whole if is_norm(name) else
              whole.normal_(0.0, model.config.initial_std, generator=seeds.torch(f"init {name}")))


def draw_adapters(model: AdaptedLlama, seeds: Seeds) -> None:
    """First matrices uniform within 1 / sqrt(inputs), the others 0 (PEFT's default: Kaiming uniform, a = sqrt(5)).

    Each is drawn whole, in float32 on the CPU, from a generator of its own name: every way to spread the model begins
    with the same weights.
    """
    for name, parameter in model.named_parameters():
        if not is_adapter(name) or parameter.is_meta:
            continue
        whole = torch.zeros(adapter_shape(name, model), device="cpu")
        if ".down." in name:
            bound = 1.0 / math.sqrt(whole.shape[1])
            whole.uniform_(-bound, bound, generator=seeds.torch(f"init {name}"))
        write(parameter, whole)


def adapter_shape(name: str, model: AdaptedLlama) -> tuple[int, int]:
    """The shape of an adapter's matrix in the undivided model."""
    config, rank = model.config, model.adapter.rank
    query, shared = config.heads * config.head_size, config.key_value_heads * config.head_size
    if ".down." in name:
        return rank, config.hidden if ".qkv_adapter." in name else query
    sizes = {"q": query, "k": shared, "v": shared, "o": config.hidden}
    return sizes[name.split(".")[-2]], rank


@torch.no_grad()
def fill_constants(model: AdaptedLlama, world: World) -> None:
    """The constants of dropout, which memory without values has lost: of the columns that this process has."""
    for module in model.modules():
        if not isinstance(module, Adapter) or module.down._parameters["weight"] is None or module.down.weight.is_meta:
            continue
        whole, own = constants(module.place, module.inputs), module.dropout.columns
        parts = whole.chunk(len(whole) // len(own))
        own.copy_(parts[world.tensor.rank if len(parts) > 1 else 0])


def _part(name: str) -> str | None:
    """Which part of the fused tensor a parameter is."""
    return next((part for part in PARTS if part in name), None)


def _rows(config: LlamaConfig) -> list[int]:
    shared = config.key_value_heads * config.head_size
    return [config.heads * config.head_size, shared, shared]
