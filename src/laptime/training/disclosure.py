"""What logs disclose of how a run was computed, from round v6.0 on: precision, parallelism, micro-batch, configuration.

Names and values are those of the common rules of that round.
"""

from collections.abc import Mapping

import torch

from laptime.config import Json, Parallel, Speed
from laptime.training.speed import Precision

PRECISIONS = {torch.float64: "fp64", torch.float32: "fp32", torch.bfloat16: "bfloat16"}


def disclosed(speed: Speed, parallel: Parallel, *, micro_batch_size: int, config_filename: str) -> Mapping[str, Json]:
    """speed: resolved. Gradients are exchanged in the dtype of the parameters."""
    precision = Precision.of(speed)
    parameters = PRECISIONS[precision.parameters]
    computed = PRECISIONS[precision.autocast] if precision.autocast else parameters
    if computed == "fp32" and speed.tf32 == "on":
        computed = "tf32"
    return {
        "lowest_numerical_precision_in_linear": "fp8" if speed.dtype == "float8" else computed,
        "lowest_numerical_precision_in_attn": computed,
        "lowest_numerical_precision_in_comm": parameters,
        "tensor_parallelism": parallel.tensor,
        "pipeline_parallelism": parallel.pipeline,
        "context_parallelism": parallel.context,
        "expert_parallelism": 1,
        "micro_batch_size": micro_batch_size,
        "config_filename": config_filename,
    }
