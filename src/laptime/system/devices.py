"""Accelerators, disks and network adapters, from vendor tools, the NVML library or sysfs. No torch."""

import re
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType

from laptime.system.sources import Sources, whole

MIB = 1 << 20
SECTOR_BYTES = 512  # the unit of /sys/block/*/size, whatever the disk
VIRTUAL_DISKS = ("loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd")
AMD = "0x1002"  # PCI vendor number


@dataclass(frozen=True)
class Accelerator:
    """One device. Empty and 0: unknown."""

    model: str
    memory_bytes: int = 0
    frequency_mhz: int = 0
    host_link: str = ""
    driver: str = ""


@dataclass(frozen=True)
class Disk:
    """One physical disk; `kind` is "NVMe SSD", "SSD" or "HDD" (or "virtual disk")."""

    name: str
    kind: str
    size_bytes: int


@dataclass(frozen=True)
class Adapter:
    """One network adapter; `megabits` per second, 0: unknown."""

    name: str
    kind: str
    megabits: int


def accelerators(sources: Sources) -> tuple[Accelerator, ...]:
    """The accelerators of the machine, from the first source that knows any."""
    return _from_smi(sources) or _from_nvml(sources) or _from_driver(sources) or _from_drm(sources)


def accelerator_interconnect(sources: Sources, count: int) -> str:
    """How accelerators reach each other: "NVLink" or "PCIe"; "" for fewer than two."""
    if count < 2:
        return ""
    return "NVLink" if re.search(r"\bNV\d+\b", sources.run(["nvidia-smi", "topo", "-m"])) else "PCIe"


def _from_smi(sources: Sources) -> tuple[Accelerator, ...]:
    query = "name,memory.total,clocks.max.sm,pcie.link.gen.max,pcie.link.width.max,driver_version"
    table = sources.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"])
    rows = [[cell.strip() for cell in line.split(",")] for line in table.splitlines()]
    return tuple(Accelerator(name, (whole(memory) or 0) * MIB, whole(clock) or 0, _pcie(generation, width), driver)
                 for name, memory, clock, generation, width, driver in (row for row in rows if len(row) == 6))


def _pcie(generation: str, width: str) -> str:
    return f"PCIe Gen{generation} x{width}" if generation.isdigit() and width.isdigit() else "PCIe"


def _from_nvml(sources: Sources) -> tuple[Accelerator, ...]:
    """Through the library of the driver, where the command-line tool is missing (as in many containers)."""
    if sources.root.parts != ("/",):  # the library always speaks of this machine
        return ()
    try:
        import pynvml
        pynvml.nvmlInit()
    except Exception:  # no package, no driver, no permission: then not known from here
        return ()
    with suppress(Exception):
        return tuple(_nvml_device(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount()))
    return ()


def _nvml_device(nvml: ModuleType, index: int) -> Accelerator:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = nvml.nvmlDeviceGetName(handle)
    return Accelerator(name.decode() if isinstance(name, bytes) else str(name),
                       int(nvml.nvmlDeviceGetMemoryInfo(handle).total), driver=str(nvml.nvmlSystemGetDriverVersion()))


def _from_driver(sources: Sources) -> tuple[Accelerator, ...]:
    folder = "proc/driver/nvidia/gpus"
    texts = [sources.text(f"{folder}/{name}/information") for name in sources.children(folder)]
    return tuple(Accelerator(found[1]) for text in texts if (found := re.search(r"^Model:\s*(.+)$", text, re.M)))


def _from_drm(sources: Sources) -> tuple[Accelerator, ...]:
    """AMD compute devices, as the kernel lists them."""
    names = [name for name in sources.children("sys/class/drm") if re.fullmatch(r"card\d+", name)]
    cards = [f"sys/class/drm/{name}/device" for name in names]
    return tuple(Accelerator(sources.text(f"{card}/product_name") or "AMD accelerator", memory)
                 for card in cards if sources.text(f"{card}/vendor") == AMD
                 and (memory := sources.number(f"{card}/mem_info_vram_total")))


def disks(sources: Sources) -> tuple[Disk, ...]:
    """Physical disks, as the kernel lists them."""
    names = [name for name in sources.children("sys/block") if not name.startswith(VIRTUAL_DISKS)]
    return tuple(Disk(name, _disk_kind(sources, name), sectors * SECTOR_BYTES)
                 for name in names if (sectors := sources.number(f"sys/block/{name}/size")))


def _disk_kind(sources: Sources, name: str) -> str:
    if name.startswith("nvme"):
        return "NVMe SSD"
    if name.startswith(("vd", "xvd")):
        return "virtual disk"
    return "HDD" if sources.text(f"sys/block/{name}/queue/rotational") == "1" else "SSD"


def adapters(sources: Sources) -> tuple[Adapter, ...]:
    """Network adapters with hardware behind them: Ethernet, then InfiniBand ports."""
    folder = "sys/class/net"
    ethernet = [name for name in sources.children(folder) if (sources.root / folder / name / "device").exists()]
    found = [Adapter(name, "Ethernet", max(0, sources.number(f"{folder}/{name}/speed") or 0)) for name in ethernet]
    for name in sources.children("sys/class/infiniband"):
        rate = sources.text(f"sys/class/infiniband/{name}/ports/1/rate").split()  # such as "400 Gb/sec (4X NDR)"
        found.append(Adapter(name, "InfiniBand", 1000 * (whole(rate[0]) or 0) if rate else 0))
    return tuple(found)
