"""`config.Speed` made concrete for a device. Safe defaults: exact on the CPU, fast where hardware is made for it."""

from dataclasses import dataclass, replace

import torch

from laptime.config import Speed
from laptime.errors import InvalidConfiguration
from laptime.training.compiler import compiler

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16,
          "float8": torch.bfloat16}  # of all but the products that `nn.float8` computes
FLOAT8_CAPABILITY = (8, 9)  # CUDA's compute capability from which on there are products of float8; Hopper has 9.0


def resolve(speed: Speed, device: torch.device) -> Speed:
    """`speed` with every "auto" decided.

    CUDA: bfloat16 autocast, channels_last, compiled step, fused optimizer, TF32. CPU: float32, channels_last, eager
    (compiling costs more than a mini run takes). Others: float32, contiguous, eager. Compilation falls back to "off"
    where there is no C compiler. float8 is never a default; raises InvalidConfiguration where `device` has none.
    """
    if speed.dtype == "float8":
        _expect_float8(device)
    cuda = device.type == "cuda"
    defaults = Speed(dtype="bfloat16" if cuda else "float32",
                     memory_format="channels_last" if device.type in ("cuda", "cpu") else "contiguous",
                     compile="step" if cuda else "off", fused="on" if cuda else "off", tf32="on" if cuda else "off")
    chosen = {name: value for name, value in vars(speed).items() if value != "auto"}
    resolved = replace(defaults, **chosen)
    if resolved.compile != "off" and not can_compile():
        resolved = replace(resolved, compile="off")
    return resolved


def _expect_float8(device: torch.device) -> None:
    found = device.type
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= FLOAT8_CAPABILITY:
            return
        found = f"{torch.cuda.get_device_name(device)} of {'.'.join(map(str, capability))}"
    elif device.type in ("cpu", "meta"):
        return
    least = ".".join(map(str, FLOAT8_CAPABILITY))
    raise InvalidConfiguration(f"expected a CPU or CUDA of compute capability {least} or more for speed.dtype=float8, "
                               f"found {found}", hint="Choose speed.dtype=bfloat16.")


def can_compile() -> bool:
    """Whether torch.compile finds a C compiler here."""
    return compiler() is not None


@dataclass(frozen=True)
class Precision:
    """Parameter and autocast dtype of a resolved `Speed` (bfloat16, float8: float32 parameters under autocast)."""

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
