"""Safetensors files: against the format's own library, and what is refused."""

import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laptime.errors import DataProblem
from laptime.training.data.safetensors_files import DTYPES, INDEX, SINGLE, Checkpoint, SafetensorsFile, write_checkpoint

TENSORS = {"a.weight": torch.arange(6, dtype=torch.float32).view(2, 3), "b": torch.tensor(2.5, dtype=torch.bfloat16),
           "c": torch.zeros(0, 4), "d": torch.tensor([True, False])}


def equal(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)


def test_files_of_the_library_are_read_and_ours_by_the_library(tmp_path):
    library = pytest.importorskip("safetensors.torch")
    library.save_file(TENSORS, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    theirs = SafetensorsFile(tmp_path / "theirs.safetensors")
    assert set(theirs.entries) == set(TENSORS)
    assert all(equal(theirs.tensor(name), tensor) for name, tensor in TENSORS.items())
    write_checkpoint(tmp_path, [TENSORS])
    ours = library.load_file(tmp_path / SINGLE)
    assert all(equal(ours[name], tensor) for name, tensor in TENSORS.items())


@pytest.mark.parametrize("name", DTYPES)
def test_every_kind_of_number_comes_back(tmp_path, name):
    tensor = torch.tensor([1, 0, 1]).to(DTYPES[name])
    write_checkpoint(tmp_path, [{"x": tensor}])
    assert equal(Checkpoint.open(tmp_path).tensor("x"), tensor)


def test_a_checkpoint_of_several_files_is_read_by_its_index(tmp_path):
    first, second = dict(list(TENSORS.items())[:2]), dict(list(TENSORS.items())[2:])
    names = write_checkpoint(tmp_path, [first, second])
    assert names == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", INDEX]
    found = Checkpoint.open(tmp_path)
    assert found.names == names
    assert all(equal(found.tensor(name), tensor) for name, tensor in TENSORS.items())
    assert (found.shape("a.weight"), found.shape("b"), found.shape("z")) == ((2, 3), (), None)
    with pytest.raises(DataProblem, match=r"expected a tensor 'z' in "):
        found.tensor("z")


def test_what_an_index_promises_must_be_there(tmp_path):
    write_checkpoint(tmp_path, [{"a": torch.ones(1)}, {"b": torch.ones(1)}])
    index = json.loads((tmp_path / INDEX).read_text())
    index["weight_map"]["c"] = "model-00002-of-00002.safetensors"
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(DataProblem, match=r"expected a tensor 'c' in .*model-00002-of-00002.safetensors"):
        Checkpoint.open(tmp_path)
    (tmp_path / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(DataProblem, match=r"cannot read .*model-00001-of-00002.safetensors"):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "../x.safetensors"}}'])
def test_an_index_of_other_content_is_refused(tmp_path, text):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(DataProblem, match=rf"'weight_map' of file names in .*{INDEX}"):
        Checkpoint.open(tmp_path)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(DataProblem, match=rf"expected {SINGLE} or {INDEX} in "):
        Checkpoint.open(tmp_path)


def made(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(("content", "says"), [
    (b"1234", "expected a header within the 4 bytes"), (made({}, length=2**63), "expected a header within"),
    (made(b"{"), "makes no sense"), (made([]), "makes no sense"), (made({"a": 3}), "makes no sense"),
    (made({"a": ONE}, b"1234567"), "16 bytes|bytes are described"), (made({"a": ONE}, b"123456789"), "bytes are described"),
    (made({"a": ONE | {"dtype": "F8"}}, b"12345678"), "makes no sense"), (made({"a": ONE | {"shape": [3]}}, b"12345678"), "'a' does not fill"),
    (made({"a": ONE | {"shape": [-2, -1]}}, b"12345678"), "not whole"), (made({"a": ONE | {"data_offsets": [4, 12]}}, b"0" * 12), "does not fill"),
    (made({"a": ONE, "b": ONE}, b"12345678"), "'b' does not fill"),
    (made(b'{"a": %s, "a": %s}' % ((json.dumps(ONE).encode(),) * 2), b"12345678"), "comes twice"),
])
def test_other_files_are_refused_by_name(tmp_path, content, says):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(DataProblem, match=says) as raised:
        SafetensorsFile(tmp_path / "x.safetensors")
    assert "x.safetensors" in str(raised.value)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_changed_byte_of_a_file_is_read_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("hostile")
    write_checkpoint(folder, [{"a": torch.ones(2), "b": torch.zeros(3)}])
    content = bytearray((folder / SINGLE).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / SINGLE).write_bytes(content[:data.draw(st.integers(0, len(content)))])
    try:
        found = Checkpoint.open(folder)
        shapes = [found.tensor(name).numel() for name in found.owners]
    except DataProblem as problem:
        shapes = [SINGLE in str(problem)]
    assert sum(shapes) > 0
