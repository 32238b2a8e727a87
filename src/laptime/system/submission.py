"""A machine as the system description of a submission: fields and order of the submission rules' metadata section.

Values are strings throughout. What is not known stays empty: an empty field passes, an invented one misleads.
"""

import re
from collections import Counter
from collections.abc import Iterable
from importlib import metadata

from laptime.system.machine import Machine

GIB = 1 << 30
GB = 10**9


def system_description(machine: Machine, *, submitter: str, division: str, status: str, framework: str = "",
                       system_name: str = "", nodes: int = 1) -> dict[str, str]:
    """The 33 required fields of a system description, in the order of the rules.

    Empty `framework` and `system_name`: the installed one, and the hardware found.
    """
    return {
        "submitter": submitter,
        "division": division,
        "status": status,
        "system_name": system_name or hardware_name(machine),
        "number_of_nodes": str(nodes),
        **_host(machine),
        **_accelerators(machine),
        "cooling": "",
        "hw_notes": _limits(machine),
        "framework": framework or installed_framework(),
        "other_software_stack": _drivers(machine),
        "operating_system": machine.operating_system,
        "sw_notes": machine.kernel,
    }


def hardware_name(machine: Machine) -> str:
    """Such as "8x NVIDIA H200" or "AMD EPYC 9354 (2 of 64 vCPUs)"."""
    if machine.accelerators:
        return _several(device.model for device in machine.accelerators)
    words = re.sub(r"\((R|TM)\)|CPU|Processor|@.*", " ", machine.processor.model).split()
    model = " ".join(words) or "unknown processor"
    total, usable = machine.processor.threads, machine.limits.processors
    return f"{model} ({usable} of {total} vCPUs)" if usable < total else f"{model} ({max(total, usable)} vCPUs)"


def system_name(machine: Machine, *, processes: int = 1) -> str:
    """The name of a system for logs and folders: letters, digits, `_`, `-` and dots inside, no blanks.

    With accelerators, one per process counts: "2x_NVIDIA_H200"; without: "AMD_EPYC_9354_2of64vcpu", and the processes.
    """
    if machine.accelerators:
        name = _several(device.model for device in machine.accelerators[:processes])
    else:
        name = hardware_name(machine).replace(" of ", "of").replace(" vCPUs", "vcpu")
        name += f" {processes}proc" if processes > 1 else ""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("_.")


def installed_framework() -> str:
    """Such as "PyTorch 2.13.0", without importing it; "" where there is none."""
    try:
        return f"PyTorch {metadata.version('torch')}"
    except metadata.PackageNotFoundError:
        return ""


def _host(machine: Machine) -> dict[str, str]:
    cpu, sockets = machine.processor, max(1, machine.processor.sockets)
    return {
        "host_processors_per_node": _known(cpu.sockets),
        "host_processor_model_name": cpu.model,
        "host_processor_core_count": _known(cpu.cores // sockets),
        "host_processor_vcpu_count": _known(cpu.threads // sockets),
        "host_processor_frequency": _known(cpu.frequency_mhz, " MHz"),
        "host_processor_caches": cpu.caches,
        "host_processor_interconnect": "",
        "host_memory_capacity": _gib(machine.memory_bytes),
        "host_storage_type": ", ".join(sorted({disk.kind for disk in machine.disks})),
        "host_storage_capacity": _several(f"{disk.size_bytes / GB:.0f} GB {disk.kind}" for disk in machine.disks),
        "host_networking": _several(_speed(adapter.megabits) + adapter.kind for adapter in machine.adapters),
        "host_networking_topology": "",
        "host_memory_configuration": "",
    }


def _accelerators(machine: Machine) -> dict[str, str]:
    devices = machine.accelerators
    first = devices[0] if devices else None
    return {
        "accelerators_per_node": str(len(devices)),
        "accelerator_model_name": " + ".join(dict.fromkeys(device.model for device in devices)),
        "accelerator_host_interconnect": first.host_link if first else "",
        "accelerator_frequency": _known(first.frequency_mhz, " MHz") if first else "",
        "accelerator_on-chip_memories": "",
        "accelerator_memory_configuration": "",
        "accelerator_memory_capacity": _gib(first.memory_bytes) if first else "",
        "accelerator_interconnect": machine.accelerator_interconnect,
        "accelerator_interconnect_topology": "",
    }


def _drivers(machine: Machine) -> str:
    versions = dict.fromkeys(device.driver for device in machine.accelerators if device.driver)
    return ", ".join(f"accelerator driver {version}" for version in versions)


def _limits(machine: Machine) -> str:
    """What of the machine the run could use, where that is not all of it."""
    notes = []
    if machine.limits.processors < machine.processor.threads:
        notes.append(f"runs may use {machine.limits.processors} of {machine.processor.threads} hardware threads")
    if machine.limits.memory_bytes and machine.limits.memory_bytes < machine.memory_bytes:
        notes.append(f"runs may use {_gib(machine.limits.memory_bytes)} of memory")
    return "; ".join(notes)


def _known(number: int, unit: str = "") -> str:
    return f"{number}{unit}" if number else ""


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.0f} GiB" if size_bytes else ""


def _speed(megabits: int) -> str:
    return f"{megabits / 1000:g} Gb/s " if megabits else ""


def _several(items: Iterable[str]) -> str:
    """Equal items counted: "2x NVMe SSD, 1x HDD"."""
    return ", ".join(f"{count}x {item}" for item, count in Counter(items).items())
