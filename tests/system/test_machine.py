"""Collectors on machines made of files: what is there is found, what is missing is empty, nothing raises."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from laptime.system.devices import Accelerator, accelerator_interconnect, accelerators, adapters, disks
from laptime.system.limits import Limits, limits
from laptime.system.machine import Machine, describe
from laptime.system.processor import processor
from laptime.system.sources import Sources, output

CPUINFO = "\n\n".join(f"processor\t: {i}\nmodel name\t: Quick CPU @ 2.50GHz\nphysical id\t: {i // 4}\ncore id\t\t: {i // 2 % 2}\n"
                      f"cpu MHz\t\t: {2500 + i}.000" for i in range(8))
SMI = """NVIDIA H200, 143771, 1980, 5, 16, 570.86
NVIDIA H200, 143771, 1980, 5, 16, 570.86"""


def silent(command: Sequence[str]) -> str:
    return ""


def machine_of(root: Path, files: dict[str, str], **commands: str) -> Sources:
    """A machine whose files lie under `root` and whose commands print what is given by their first word."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Sources(root, lambda command: commands.get(command[0].replace("-", "_"), ""))


def test_describe_this_machine_finds_processors_and_memory():
    machine = describe()
    assert machine.limits.processors >= 1
    assert machine.processor.threads >= 1
    assert machine.usable_memory_bytes > 0


def test_describe_empty_machine_is_empty(tmp_path):
    machine = describe(Sources(tmp_path, silent))
    assert (machine.processor.model or "?") != ""
    assert machine.memory_bytes == 0
    assert machine.disks == machine.adapters == machine.accelerators == ()


def test_processor_counts_sockets_cores_and_threads(tmp_path):
    sources = machine_of(tmp_path, {"proc/cpuinfo": CPUINFO, "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "3700000"})
    found = processor(sources)
    assert (found.model, found.sockets, found.cores, found.threads) == ("Quick CPU @ 2.50GHz", 2, 4, 8)
    assert found.frequency_mhz == 3700


def test_processor_without_cpufreq_takes_the_highest_current(tmp_path):
    assert processor(machine_of(tmp_path, {"proc/cpuinfo": CPUINFO})).frequency_mhz == 2507


def test_processor_without_model_in_cpuinfo_asks_lscpu(tmp_path):
    arm = "processor\t: 0\nBogoMIPS\t: 50\n\nprocessor\t: 1\nBogoMIPS\t: 50\n"
    found = processor(machine_of(tmp_path, {"proc/cpuinfo": arm}, lscpu="Model name: Neoverse-V2\nSocket(s): 1\nCore(s) per socket: 2"))
    assert (found.model, found.sockets, found.cores, found.threads) == ("Neoverse-V2", 1, 2, 2)


def test_processor_caches_are_listed_by_level(tmp_path):
    base = "sys/devices/system/cpu/cpu0/cache"
    files = {"proc/cpuinfo": CPUINFO}
    for index, (level, kind, size) in enumerate([("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2048K")]):
        files |= {f"{base}/index{index}/level": level, f"{base}/index{index}/type": kind, f"{base}/index{index}/size": size}
    assert processor(machine_of(tmp_path, files)).caches == "L1d 48K, L1i 32K, L2 2048K"


def test_accelerators_from_smi_are_read(tmp_path):
    found = accelerators(machine_of(tmp_path, {}, nvidia_smi=SMI))
    assert found == (Accelerator("NVIDIA H200", 143771 << 20, 1980, "PCIe Gen5 x16", "570.86"),) * 2


def test_accelerators_with_unsupported_fields_keep_the_model(tmp_path):
    found = accelerators(machine_of(tmp_path, {}, nvidia_smi="Some GPU, [N/A], [N/A], [N/A], [N/A], 1.0"))
    assert found == (Accelerator("Some GPU", 0, 0, "PCIe", "1.0"),)


@pytest.mark.parametrize("noise", ["NVIDIA-SMI has failed", "a,b,c", "", ",,,\n\n"])
def test_accelerators_from_noise_are_none(tmp_path, noise):
    assert accelerators(machine_of(tmp_path, {}, nvidia_smi=noise)) == ()


def test_accelerators_from_kernel_driver_without_tools(tmp_path):
    text = "Model: \t\t NVIDIA A100\nIRQ: 5\n"
    assert accelerators(machine_of(tmp_path, {"proc/driver/nvidia/gpus/0000:01/information": text})) == (Accelerator("NVIDIA A100"),)


def test_accelerators_of_amd_are_found_in_sysfs(tmp_path):
    card = "sys/class/drm/card1/device"
    files = {f"{card}/vendor": "0x1002", f"{card}/mem_info_vram_total": str(192 << 30), f"{card}/product_name": "MI300X",
             "sys/class/drm/card0/device/vendor": "0x8086", "sys/class/drm/version": "drm"}
    assert accelerators(machine_of(tmp_path, files)) == (Accelerator("MI300X", 192 << 30),)


@pytest.mark.parametrize(("topology", "count", "expected"), [("GPU0 X NV18", 2, "NVLink"), ("GPU0 X PHB", 2, "PCIe"), ("GPU0 X NV18", 1, "")])
def test_accelerator_interconnect_follows_the_topology(tmp_path, topology, count, expected):
    assert accelerator_interconnect(machine_of(tmp_path, {}, nvidia_smi=topology), count) == expected


def test_disks_leave_virtual_devices_out(tmp_path):
    files = {"sys/block/nvme0n1/size": "2000", "sys/block/sda/size": "4000", "sys/block/sda/queue/rotational": "1",
             "sys/block/loop0/size": "8", "sys/block/dm-0/size": "8", "sys/block/sdb/size": "junk"}
    assert [(disk.name, disk.kind, disk.size_bytes) for disk in disks(machine_of(tmp_path, files))] == [
        ("nvme0n1", "NVMe SSD", 1_024_000), ("sda", "HDD", 2_048_000)]


def test_adapters_are_those_with_hardware(tmp_path):
    files = {"sys/class/net/eth0/device/vendor": "x", "sys/class/net/eth0/speed": "100000", "sys/class/net/lo/mtu": "1",
             "sys/class/net/eth1/device/vendor": "x", "sys/class/net/eth1/speed": "-1",
             "sys/class/infiniband/mlx5_0/ports/1/rate": "400 Gb/sec (4X NDR)"}
    assert [(one.name, one.kind, one.megabits) for one in adapters(machine_of(tmp_path, files))] == [
        ("eth0", "Ethernet", 100_000), ("eth1", "Ethernet", 0), ("mlx5_0", "InfiniBand", 400_000)]


def test_limits_take_the_tightest_group(tmp_path):
    files = {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "150000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 100000",
             "sys/fs/cgroup/a/memory.max": "max", "sys/fs/cgroup/a/b/memory.max": str(1 << 30)}
    found = limits(machine_of(tmp_path, files))
    assert (found.quota, found.memory_bytes) == (1.5, 1 << 30)


def test_limits_of_the_old_group_format(tmp_path):
    files = {"proc/self/cgroup": "4:cpu,cpuacct:/job\n3:memory:/job\n", "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "200000",
             "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
             "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000", "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9223372036854771712"}
    found = limits(machine_of(tmp_path, files))
    assert (found.quota, found.memory_bytes) == (2.0, None)


@pytest.mark.parametrize(("found", "expected"), [(Limits(8), 8), (Limits(8, 2.5), 2), (Limits(8, 0.2), 1), (Limits(2, 16.0), 2), (Limits(), 1)])
def test_processors_are_affinity_and_quota_together(found, expected):
    assert found.processors == expected


def test_usable_memory_is_the_smaller_of_machine_and_limit():
    assert Machine(memory_bytes=8, limits=Limits(memory_bytes=4)).usable_memory_bytes == 4
    assert Machine(memory_bytes=8).usable_memory_bytes == 8


def test_operating_system_comes_from_os_release(tmp_path):
    assert describe(machine_of(tmp_path, {"etc/os-release": 'NAME=x\nPRETTY_NAME="Fine Linux 3"\n'})).operating_system == "Fine Linux 3"


def test_memory_on_macos_comes_from_sysctl(tmp_path):
    assert describe(machine_of(tmp_path, {}, sysctl="17179869184")).memory_bytes == 17179869184


@pytest.mark.parametrize("command", [["no-such-program-here"], ["false"]])
def test_output_of_a_command_that_fails_is_empty(command):
    assert output(command) == ""


def test_unreadable_file_is_empty(tmp_path):
    (tmp_path / "folder").mkdir()
    assert Sources(tmp_path).text("folder") == ""
