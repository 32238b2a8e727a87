"""Submission trees: paths out of names, names out of paths, and links that lead astray."""

from pathlib import Path

import pytest

from laptime.errors import UserError
from laptime.layout import SubmissionPaths, find_results, natural, result_name, rounds_in_path


def tree(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    return root


def test_paths_of_a_submission():
    paths = SubmissionPaths(Path("v4.0"), "acme")
    assert paths.system("box") == Path("v4.0/acme/systems/box.json")
    assert paths.results("box", "resnet") / result_name(3) == Path("v4.0/acme/results/box/resnet/result_3.txt")
    assert paths.scripts("resnet", "box") == Path("v4.0/acme/benchmarks/resnet/box")


@pytest.mark.parametrize("below", ["", "v4.0", "v4.0/acme", "v4.0/acme/results/box", "v4.0/acme/results/box/resnet",
                                   "v4.0/acme/results/box/resnet/result_0.txt"])
def test_a_result_is_found_from_every_level(tmp_path, below):
    tree(tmp_path, "v4.0/acme/results/box/resnet/result_0.txt", "v4.0/acme/systems/box.json")
    (result,) = find_results(tmp_path / below)
    assert (result.submitter, result.system, result.benchmark) == ("acme", "box", "resnet")
    assert [log.name for log in result.logs] == ["result_0.txt"]


def test_logs_are_in_natural_order(tmp_path):
    tree(tmp_path, *(f"result_{i}.txt" for i in (10, 9, 1, 2)), "notes.txt", "scaling.json", "result_0.json")
    (result,) = find_results(tmp_path)
    assert [log.name for log in result.logs] == ["result_1.txt", "result_2.txt", "result_9.txt", "result_10.txt"]


def test_the_layout_of_the_first_round(tmp_path):
    tree(tmp_path, "v0.5.0/nvidia/submission/results/dgx1/resnet/result_0.txt",
         "v0.5.0/google/cloud_v3.8/resnet-tpuv3-8/results/tpu/resnet/result_0.txt")
    found = {(r.submitter, r.system, r.benchmark) for r in find_results(tmp_path)}
    assert found == {("nvidia", "dgx1", "resnet"), ("google", "tpu", "resnet")}


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    tree(tmp_path, "secret/result_0.txt", "given/resnet/result_1.txt")
    (tmp_path / "given/resnet/result_0.txt").symlink_to(tmp_path / "secret/result_0.txt")
    (tmp_path / "given/linked").symlink_to(tmp_path / "secret")
    (tmp_path / "given/resnet/result_2.txt").symlink_to(tmp_path / "given/resnet/result_1.txt")
    (result,) = find_results(tmp_path / "given")
    assert [log.name for log in result.logs] == ["result_1.txt", "result_2.txt"]


def test_nothing_to_find_is_said(tmp_path):
    with pytest.raises(UserError, match=r"found none under"):
        find_results(tmp_path)
    with pytest.raises(UserError, match="found nothing at"):
        find_results(tmp_path / "missing")


@pytest.mark.parametrize(("path", "names"), [
    ("/x/v4.0/acme/results", ("v4.0",)), ("/x/training_results_v0.7/acme", ("v0.7",)),
    ("/x/v0.5.0/google/cloud_v3.8", ("v0.5",)), ("/runs/mini-1/acme/results/box-2", ("box-2", "mini-1")), ("/runs/acme", ())])
def test_rounds_in_path(path, names):
    assert rounds_in_path(Path(path)) == names


def test_natural_order_of_very_long_numbers():
    assert natural(Path("a" + "9" * 5000)) > natural(Path("a1"))
