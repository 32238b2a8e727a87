"""This machine as one plain value, collected without torch and without ever raising."""

import platform
import re
from dataclasses import dataclass, field

from laptime.system.devices import (
    Accelerator,
    Adapter,
    Disk,
    accelerator_interconnect,
    accelerators,
    adapters,
    disks,
)
from laptime.system.limits import Limits, limits
from laptime.system.processor import Processor, processor
from laptime.system.sources import Sources, whole

KIB = 1 << 10


@dataclass(frozen=True)
class Machine:
    """What was found. Empty text, 0 and empty tuples mean "not known"."""

    processor: Processor = field(default_factory=Processor)
    memory_bytes: int = 0
    disks: tuple[Disk, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    accelerators: tuple[Accelerator, ...] = ()
    accelerator_interconnect: str = ""
    operating_system: str = ""
    kernel: str = ""
    limits: Limits = field(default_factory=Limits)

    @property
    def usable_memory_bytes(self) -> int:
        """Memory this process may use; 0: not known."""
        known = [size for size in (self.memory_bytes, self.limits.memory_bytes) if size]
        return min(known, default=0)


def describe(sources: Sources | None = None) -> Machine:
    """The machine behind `sources` (default: this one)."""
    sources = sources or Sources()
    devices = accelerators(sources)
    return Machine(processor(sources), _memory(sources), disks(sources), adapters(sources), devices,
                   accelerator_interconnect(sources, len(devices)), _operating_system(sources),
                   f"{platform.system()} {platform.release()}".strip(), limits(sources))


def _memory(sources: Sources) -> int:
    total = re.search(r"^MemTotal:\s*(\d+) kB", sources.text("proc/meminfo"), re.M)
    if total:
        return int(total[1]) * KIB
    return whole(sources.run(["sysctl", "-n", "hw.memsize"])) or 0


def _operating_system(sources: Sources) -> str:
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)"?', sources.text("etc/os-release"), re.M)
    if name:
        return name[1]
    version = sources.run(["sw_vers", "-productVersion"])
    return f"macOS {version}" if version else platform.system()
