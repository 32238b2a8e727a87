"""Speed settings made concrete for a device, without that device."""

import itertools
from dataclasses import fields, replace

import pytest
import torch

from laptime.config import Speed
from laptime.errors import InvalidConfiguration
from laptime.training import speed
from laptime.training.speed import Precision, apply_tf32, resolve

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")
EXPLICIT = {"dtype": ["float64", "float32", "bfloat16", "float8"], "memory_format": ["contiguous", "channels_last"],
            "compile": ["off", "step"], "fused": ["on", "off"], "tf32": ["on", "off"]}


@pytest.fixture(autouse=True)
def compiler(monkeypatch):
    """A C compiler is there; tests may take it away."""
    monkeypatch.setattr(speed, "can_compile", lambda: True)


@pytest.mark.parametrize(("device", "expected"), [
    (CPU, Speed("float32", "channels_last", "off", "off", "off")),
    (CUDA, Speed("bfloat16", "channels_last", "step", "on", "on")),
    (MPS, Speed("float32", "contiguous", "off", "off", "off")),
])
def test_auto_is_decided_by_the_device(device, expected):
    assert resolve(Speed(), device) == expected


@pytest.fixture
def capability(monkeypatch):
    """Writes what an imagined CUDA device can."""
    def write(major, minor):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, minor))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA X")

    write(9, 0)
    return write


@pytest.mark.parametrize(("device", "name"), [*itertools.product([CPU, CUDA], EXPLICIT)])
def test_explicit_values_win_over_the_device(device, name, capability):
    for value in EXPLICIT[name]:
        found = resolve(replace(Speed(), **{name: value}), device)
        assert getattr(found, name) == value
        assert replace(found, **{name: "auto"}) == replace(resolve(Speed(), device), **{name: "auto"})


@pytest.mark.parametrize(("device", "able", "found"), [(CUDA, (8, 0), "NVIDIA X of 8.0"), (CUDA, (8, 6), "NVIDIA X of 8.6"), (MPS, (9, 0), "mps")])
def test_float8_is_refused_where_the_device_has_none(device, able, found, capability):
    capability(*able)
    with pytest.raises(InvalidConfiguration, match=f"compute capability 8.9 or more for speed.dtype=float8, found {found}"):
        resolve(Speed(dtype="float8"), device)
    assert resolve(Speed(dtype="bfloat16"), device).dtype == "bfloat16"


@pytest.mark.parametrize("able", [(8, 9), (9, 0), (10, 0)])
def test_float8_is_taken_where_the_device_has_it_and_never_by_default(able, capability):
    capability(*able)
    assert resolve(Speed(dtype="float8"), CUDA).dtype == "float8"
    assert resolve(Speed(), CUDA).dtype == "bfloat16"


def test_table_of_this_test_covers_every_field():
    assert {one.name for one in fields(Speed)} == set(EXPLICIT)


@pytest.mark.parametrize("asked", ["auto", "step"])
def test_compiling_is_off_where_there_is_no_compiler(monkeypatch, asked):
    monkeypatch.setattr(speed, "can_compile", lambda: False)
    assert resolve(Speed(compile=asked), CUDA).compile == "off"


def test_compiler_is_looked_for_on_the_path(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not speed.can_compile()
    (tmp_path / "gcc").write_text("#!/bin/sh\n")
    (tmp_path / "gcc").chmod(0o755)
    assert speed.can_compile()


@pytest.mark.parametrize(("dtype", "parameters", "autocast"), [
    ("float64", torch.float64, None), ("float32", torch.float32, None), ("bfloat16", torch.float32, torch.bfloat16),
    ("float8", torch.float32, torch.bfloat16)])
def test_precision_keeps_parameters_in_full_width(dtype, parameters, autocast):
    assert Precision.of(Speed(dtype=dtype)) == Precision(parameters, autocast)


@pytest.mark.parametrize(("switch", "precision"), [("on", "high"), ("off", "highest")])
def test_tf32_is_set_for_this_process(switch, precision):
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        apply_tf32(Speed(tf32=switch))
        assert torch.get_float32_matmul_precision() == precision
        assert torch.backends.cudnn.allow_tf32 is (switch == "on")
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
