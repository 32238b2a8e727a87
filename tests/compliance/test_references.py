"""Reference points from files of anybody's."""

import json

import pytest

from laptime.compliance.references import read_points
from laptime.errors import UserError

TABLE = "name,batch_size,unit,values,hyperparameters\nmine,128,epochs,3 4 5,opt=lars;lr=0.1\n,256,,6 7,\n"
POINT = {"Benchmark": "net", "BS": 128, "Hyperparams": {"lr": 0.1}, "Epochs to converge": [3, 4.5]}
NAMES = frozenset({"net", "our_net"})


def read(tmp_path, content):
    path = tmp_path / "points"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_points(path, NAMES, "epochs")


def test_a_table_is_read(tmp_path):
    one, other = read(tmp_path, TABLE)
    assert (one.name, one.batch_size, one.unit, one.values) == ("mine", 128, "epochs", (3, 4, 5))
    assert one.hyperparameters == {"opt": "lars", "lr": "0.1"}
    assert (other.name, other.unit, other.values) == ("line 3", "epochs", (6, 7))


def test_json_of_the_official_form_is_read(tmp_path):
    data = {"net_ref_128": POINT, "other_ref": {**POINT, "Benchmark": "other"},
            "net_ref_256": {"Benchmark": "our_net", "BS": 256, "samples to converge": [9]}}
    one, other = read(tmp_path, json.dumps(data))
    assert (one.name, one.batch_size, one.values, one.hyperparameters) == ("net_ref_128", 128, (3, 4.5), {"lr": "0.1"})
    assert (other.batch_size, other.values) == (256, (9,))


@pytest.mark.parametrize("content", [
    "", "batch_size\n128\n", "batch_size,values\n0,3 4\n", "batch_size,values\n1.5,3 4\n", "batch_size,values\n8,a b\n",
    "batch_size,values\n8,\n", "batch_size,values\n8,nan\n", "batch_size,values\n8,-1 2\n", "batch_size,values\n8,3\n8,4\n",
    "{", "{}", "[]", "{" * 100_000, '{"a": 1}', '{"a": {"Benchmark": "net", "BS": 8}}',
    '{"a": {"Benchmark": "net", "BS": true, "Epochs to converge": [1]}}',
    '{"a": {"Benchmark": "net", "BS": 8, "Epochs to converge": [1, null]}}',
    '{"a": {"Benchmark": "net", "BS": 1' + "0" * 400 + ', "Epochs to converge": [1]}}', b"\xff\xfe\x00", b"{\x00}"])
def test_anything_else_is_one_line(tmp_path, content):
    with pytest.raises(UserError) as error:
        read(tmp_path, content)
    assert len(str(error.value)) < 400


def test_no_file_and_a_folder_are_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="cannot read"):
            read_points(path, NAMES, "epochs")


def test_a_file_without_end_is_not_read_whole(tmp_path):
    with pytest.raises(UserError, match="at most"):
        read(tmp_path, b"x" * (4 * 2**20 + 1))
