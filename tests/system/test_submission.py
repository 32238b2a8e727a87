"""The system description: 33 fields of strings in the order of the rules."""

import pytest

from laptime.system.devices import Accelerator, Adapter, Disk
from laptime.system.limits import Limits
from laptime.system.machine import Machine
from laptime.system.processor import Processor
from laptime.system.submission import hardware_name, system_description, system_name

FIELDS = """submitter, division, status, system_name, number_of_nodes, host_processors_per_node, host_processor_model_name,
host_processor_core_count, host_processor_vcpu_count, host_processor_frequency, host_processor_caches, host_processor_interconnect,
host_memory_capacity, host_storage_type, host_storage_capacity, host_networking, host_networking_topology, host_memory_configuration,
accelerators_per_node, accelerator_model_name, accelerator_host_interconnect, accelerator_frequency, accelerator_on-chip_memories,
accelerator_memory_configuration, accelerator_memory_capacity, accelerator_interconnect, accelerator_interconnect_topology, cooling,
hw_notes, framework, other_software_stack, operating_system, sw_notes""".replace("\n", " ").split(", ")

BIG = Machine(
    Processor("AMD EPYC 9354 32-Core Processor", "x86_64", 2, 64, 128, 3800, "L1d 32K", 2), 1 << 40,
    (Disk("nvme0n1", "NVMe SSD", 3_840_000_000_000),) * 4, (Adapter("mlx5_0", "InfiniBand", 400_000),) * 8,
    (Accelerator("NVIDIA H200", 141 << 30, 1980, "PCIe Gen5 x16", "570.86"),) * 8, "NVLink", "Fine Linux 3", "Linux 6.1", Limits(128))
SMALL = Machine(Processor("Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz", "x86_64", 1, 4, 8), 8 << 30, limits=Limits(2, None, 4 << 30))


def describe(machine: Machine, **fields: str) -> dict[str, str]:
    return system_description(machine, submitter="us", division="closed", status="research", **fields)


@pytest.mark.parametrize("machine", [BIG, SMALL, Machine()])
def test_description_has_the_required_fields_in_order(machine):
    assert list(describe(machine)) == FIELDS
    assert len(FIELDS) == 33


@pytest.mark.parametrize("machine", [BIG, SMALL, Machine()])
def test_description_holds_strings_only(machine):
    assert {type(value) for value in describe(machine, framework="PyTorch").values()} == {str}


def test_description_of_a_big_machine_counts_per_socket_and_per_kind():
    found = describe(BIG, framework="PyTorch 2")
    assert (found["host_processors_per_node"], found["host_processor_core_count"], found["host_processor_vcpu_count"]) == ("2", "32", "64")
    assert found["accelerators_per_node"] == "8"
    assert found["accelerator_model_name"] == "NVIDIA H200"
    assert found["accelerator_memory_capacity"] == "141 GiB"
    assert found["host_storage_capacity"] == "4x 3840 GB NVMe SSD"
    assert found["host_networking"] == "8x 400 Gb/s InfiniBand"
    assert found["framework"] == "PyTorch 2"
    assert found["hw_notes"] == ""


def test_description_of_a_limited_machine_says_so():
    assert describe(SMALL)["hw_notes"] == "runs may use 2 of 8 hardware threads; runs may use 4 GiB of memory"


def test_hardware_name_drops_trademarks_and_clock():
    assert hardware_name(SMALL) == "Intel Core i5-8250U (2 of 8 vCPUs)"
    assert hardware_name(BIG) == "8x NVIDIA H200"
    assert hardware_name(Machine()) == "unknown processor (1 vCPUs)"


@pytest.mark.parametrize(("machine", "processes", "expected"), [
    (SMALL, 1, "Intel_Core_i5-8250U_2of8vcpu"), (SMALL, 2, "Intel_Core_i5-8250U_2of8vcpu_2proc"),
    (BIG, 1, "1x_NVIDIA_H200"), (BIG, 8, "8x_NVIDIA_H200"), (Machine(), 1, "unknown_processor_1vcpu")])
def test_system_name_fits_a_folder(machine, processes, expected):
    assert system_name(machine, processes=processes) == expected


def test_system_name_of_a_strange_model_has_no_blank_nor_leading_dot():
    name = system_name(Machine(Processor("../. \N{SNOWMAN} x/y", threads=1), limits=Limits(1)))
    assert name == "x_y_1vcpu"
