"""Submission trees: paths out of names, names out of paths, and links that lead astray."""

from pathlib import Path

import pytest

from laptime.errors import UserError
from laptime.layout import (
    SubmissionPaths,
    description_of,
    find_results,
    find_submissions,
    natural,
    result_name,
    rounds_in_path,
)


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


def test_a_submission_lists_what_lies_where(tmp_path):
    tree(tmp_path, "v4.0/acme/results/box/resnet/result_0.txt", "v4.0/acme/results/box/bert/notes.txt",
         "v4.0/acme/results/empty/privateid.json", "v4.0/acme/systems/box.json", "v4.0/acme/systems/.json",
         "v4.0/acme/systems/other.json")
    (found,) = find_submissions(tmp_path)
    assert (found.home, found.submitter) == (tmp_path / "v4.0/acme", "acme")
    assert (sorted(found.descriptions), found.systems) == (["box", "other"], ("box", "empty"))
    assert [(each.benchmark, len(each.logs)) for each in found.benchmarks] == [("bert", 0), ("resnet", 1)]
    assert [each.benchmark for each in found.results] == ["resnet"]


def test_submissions_of_the_first_round_lie_deeper(tmp_path):
    tree(tmp_path, "v0.5.0/google/cloud/resnet-tpu/results/tpu/resnet/result_0.txt",
         "v0.5.0/google/cloud/resnet-tpu/results/tpu/entry.json", "v0.5.0/intel/entry/results/skx/ncf/result_0.txt")
    google, intel = find_submissions(tmp_path)
    assert (google.submitter, google.systems, list(google.descriptions)) == ("google", ("tpu",), ["tpu"])
    assert (intel.submitter, intel.home.name, dict(intel.descriptions)) == ("intel", "entry", {})


def test_logs_in_the_folder_of_a_system_belong_to_it(tmp_path):
    tree(tmp_path, "acme/results/box/result_0.txt", "acme/results/box/resnet/raw/result_0.txt")
    (found,) = find_submissions(tmp_path)
    assert {(found.system_of(each), len(found.place(each))) for each in found.results} == {("box", 1), ("box", 3)}


@pytest.mark.parametrize(("description", "given"), [("systems/box.json", True), ("results/box/entry.json", True),
                                                    ("systems/other.json", False)])
def test_the_description_of_a_result_is_found(tmp_path, description, given):
    tree(tmp_path, "acme/results/box/resnet/result_0.txt", f"acme/{description}")
    (found,) = find_results(tmp_path)
    assert description_of(found) == (tmp_path / "acme" / description if given else None)


def test_a_result_outside_a_submission_has_no_description(tmp_path):
    (found,) = find_results(tree(tmp_path, "result_0.txt"))
    assert description_of(found) is None


def test_what_cannot_be_read_holds_no_submission(tmp_path):
    assert find_submissions(tmp_path / "missing") == ()
