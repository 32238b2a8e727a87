"""What is known of accelerators (accelerators.toml): peak, memory and the bandwidths that planning reckons with."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from laptime.config import nearest
from laptime.errors import UnknownName

GIGA = 1e9


@dataclass(frozen=True)
class Accelerator:
    """One kind. Peak in TFLOP/s (bfloat16, dense), memory in GB, bandwidths in GB/s and one direction.

    `domain`: how many reach each other by `link`; further ones are reached by `network`.
    """

    name: str
    names: tuple[str, ...]
    memory_gb: float
    bf16_tflops: float
    memory_gb_s: float
    link: float
    network: float
    domain: int

    @property
    def flop_per_s(self) -> float:
        return self.bf16_tflops * 1e12

    @property
    def memory_bytes(self) -> float:
        return self.memory_gb * GIGA

    def bandwidth(self, reach: int) -> float:
        """Bytes per second between processes of which neighbours in a group are at most `reach` numbers apart."""
        return (self.link if reach <= self.domain else self.network) * GIGA


@cache
def accelerators() -> tuple[Accelerator, ...]:
    """All that are known, longer names first."""
    text = files(__package__).joinpath("accelerators.toml").read_text(encoding="utf-8")
    return tuple(Accelerator(**{**one, "names": tuple(one["names"])}) for one in tomllib.loads(text)["accelerators"])


def accelerator(name: str) -> Accelerator:
    """By its own name, in any case. Raises UnknownName."""
    known = {one.name.lower(): one for one in accelerators()}
    if name.lower() not in known:
        raise UnknownName(f"unknown accelerator '{name[:60]}'.{nearest(name.lower(), known)}",
                          hint=f"Known: {', '.join(one.name for one in accelerators())}.")
    return known[name.lower()]


def recognised(text: str) -> Accelerator | None:
    """The kind that a system description means, or None."""
    lowered = text.lower()
    return next((one for one in accelerators() if any(part.lower() in lowered for part in one.names)), None)
