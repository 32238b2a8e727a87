"""`config.Speed` made concrete for a device. Safe defaults: exact on the CPU, fast where hardware is made for it."""

from dataclasses import dataclass, replace

import torch

from laptime.config import Speed
from laptime.training.compiler import compiler

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}


def resolve(speed: Speed, device: torch.device) -> Speed:
    """`speed` with every "auto" decided.

    CUDA: bfloat16 autocast, channels_last, compiled step, fused optimizer, TF32. CPU: float32, channels_last, eager
    (compiling costs more than a mini run takes). Others: float32, contiguous, eager. Compilation falls back to "off"
    where there is no C compiler.
    """
    cuda = device.type == "cuda"
    defaults = Speed(dtype="bfloat16" if cuda else "float32",
                     memory_format="channels_last" if device.type in ("cuda", "cpu") else "contiguous",
                     compile="step" if cuda else "off", fused="on" if cuda else "off", tf32="on" if cuda else "off")
    chosen = {name: value for name, value in vars(speed).items() if value != "auto"}
    resolved = replace(defaults, **chosen)
    if resolved.compile != "off" and not can_compile():
        resolved = replace(resolved, compile="off")
    return resolved


def can_compile() -> bool:
    """Whether torch.compile finds a C compiler here."""
    return compiler() is not None


@dataclass(frozen=True)
class Precision:
    """Parameter dtype and autocast dtype of a resolved `Speed` (bfloat16 means float32 parameters under autocast)."""

    parameters: torch.dtype
    autocast: torch.dtype | None

    @classmethod
    def of(cls, speed: Speed) -> "Precision":
        dtype = DTYPES[speed.dtype]
        return cls(torch.float32, dtype) if dtype is torch.bfloat16 else cls(dtype, None)


def apply_tf32(speed: Speed) -> None:
    """Allow or forbid TF32 in float32 matrix products and convolutions of this process."""
    torch.set_float32_matmul_precision("high" if speed.tf32 == "on" else "highest")
    torch.backends.cudnn.allow_tf32 = speed.tf32 == "on"
