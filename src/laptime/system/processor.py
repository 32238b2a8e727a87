"""The host processor: from /proc and /sys on Linux, from sysctl on macOS."""

import platform
import re
from dataclasses import dataclass

from laptime.system.sources import Sources, whole


@dataclass(frozen=True)
class Processor:
    """All sockets of one machine: `cores` and `threads` of the whole, the highest `frequency_mhz`; 0: unknown."""

    model: str = ""
    architecture: str = ""
    sockets: int = 0
    cores: int = 0
    threads: int = 0
    frequency_mhz: int = 0
    caches: str = ""
    numa_nodes: int = 0


def processor(sources: Sources) -> Processor:
    """The processor of the machine behind `sources`."""
    return _from_cpuinfo(sources) if sources.text("proc/cpuinfo") else _from_sysctl(sources)


def _from_cpuinfo(sources: Sources) -> Processor:
    blocks = [_fields(block) for block in re.split(r"\n\s*\n", sources.text("proc/cpuinfo"))]
    threads = [block for block in blocks if "processor" in block]
    listing = _fields(sources.run(["lscpu"]))
    packages = {block["physical id"] for block in threads if "physical id" in block}
    sockets = len(packages) or _count(listing, "Socket(s)") or 1
    pairs = {(block.get("physical id"), block["core id"]) for block in threads if "core id" in block}
    return Processor(
        model=next((block["model name"] for block in threads if "model name" in block), listing.get("Model name", "")),
        architecture=platform.machine(),
        sockets=sockets,
        cores=len(pairs) or _count(listing, "Core(s) per socket") * sockets or len(threads),
        threads=len(threads) or _count(listing, "CPU(s)"),
        frequency_mhz=_frequency(sources, threads),
        caches=_caches(sources),
        numa_nodes=sum(1 for name in sources.children("sys/devices/system/node") if re.fullmatch(r"node\d+", name)),
    )


def _from_sysctl(sources: Sources) -> Processor:
    def value(name: str) -> str:
        return sources.run(["sysctl", "-n", name])

    return Processor(model=value("machdep.cpu.brand_string") or platform.processor(), architecture=platform.machine(),
                     sockets=whole(value("hw.packages")) or 0, cores=whole(value("hw.physicalcpu")) or 0,
                     threads=whole(value("hw.logicalcpu")) or 0)


def _fields(text: str) -> dict[str, str]:
    """The `name : value` lines of a text."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def _count(fields: dict[str, str], name: str) -> int:
    return whole(fields.get(name, "")) or 0


def _frequency(sources: Sources, threads: list[dict[str, str]]) -> int:
    highest_khz = sources.number("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
    if highest_khz:
        return highest_khz // 1000
    now = [float(block["cpu MHz"]) for block in threads if re.fullmatch(r"[\d.]+", block.get("cpu MHz", ""))]
    return round(max(now, default=0))


def _caches(sources: Sources) -> str:
    """Such as "L1d 32K, L1i 32K, L2 1024K, L3 33792K" of the first core."""
    folder = "sys/devices/system/cpu/cpu0/cache"
    kinds = {"Data": "d", "Instruction": "i"}
    parts = [f"L{level}{kinds.get(sources.text(f'{folder}/{index}/type'), '')} {size}"
             for index in sources.children(folder)
             if (level := sources.text(f"{folder}/{index}/level")) and (size := sources.text(f"{folder}/{index}/size"))]
    return ", ".join(parts)
