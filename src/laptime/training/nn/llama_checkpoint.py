"""Published Llama weights: safetensors files whose tensors carry the names of `nn.llama`'s parameters."""

from collections.abc import Mapping

import torch

from laptime.errors import DataProblem
from laptime.training.data.safetensors_files import Checkpoint
from laptime.training.distributed.pieces import write
from laptime.training.nn.llama import Llama, whole_shape
from laptime.training.nn.llama_config import LlamaConfig


def parameter_names(config: LlamaConfig) -> list[str]:
    """Names of the whole network's parameters."""
    with torch.device("meta"):
        return [name for name, _ in Llama(config).named_parameters()]


def check_weights(config: LlamaConfig, checkpoint: Checkpoint) -> None:
    """Raises DataProblem for a missing tensor, and for one of another shape. Reads no weights."""
    for name in parameter_names(config):
        expected, found = whole_shape(name, config), checkpoint.shape(name)
        if found != expected:
            raise DataProblem(f"expected shape {expected} of '{name}' in the starting checkpoint, found {found}",
                              hint="Is this the checkpoint of another network?")


def load_weights(model: Llama, checkpoint: Checkpoint) -> None:
    """Write the weights into the parameters, as much of them as this process has, in the dtype that they have.

    Raises DataProblem. Parameters without storage stay as they are.
    """
    for name, parameter in model.named_parameters():
        if not parameter.is_meta:
            write(parameter, checkpoint.tensor(name))


def weights_of(model: Llama, dtype: torch.dtype) -> Mapping[str, torch.Tensor]:
    """Copies of all weights, for a checkpoint."""
    return {name: parameter.detach().to("cpu", dtype, copy=True) for name, parameter in model.named_parameters()}
