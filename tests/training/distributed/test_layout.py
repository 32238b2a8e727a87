"""Whether a choice of parallel forms fits a benchmark and a number of processes."""

import pytest

from laptime.config import Parallel
from laptime.errors import InvalidConfiguration
from laptime.training.distributed.arrange import members
from laptime.training.distributed.layout import Layout, Split, check, data_processes, sizes, stage_blocks

DEEP = Layout(embedding="e", blocks=("b0", "b1", "b2", "b3"), splits=(Split("b*", "columns"),),
              divisible={"model.heads": 4}, length=32)


def test_sizes_fill_up_copies():
    assert sizes(Parallel(tensor=2, shard=2), 16) == {"pipeline": 1, "data": 4, "shard": 2, "context": 1, "tensor": 2}


@pytest.mark.parametrize(("parallel", "expected"), [(Parallel(), 8), (Parallel(tensor=2), 4), (Parallel(shard=4), 8),
                                                    (Parallel(pipeline=2, context=2), 2)])
def test_processes_with_samples_of_their_own(parallel, expected):
    assert data_processes(parallel, 8) == expected


@pytest.mark.parametrize(("parallel", "processes", "words"), [
    (Parallel(tensor=3), 4, "divisible by tensor 3, found 4"),
    (Parallel(data=2, tensor=2), 8, "expected 4 processes .data 2 x tensor 2., found 8"),
    (Parallel(tensor=0), 4, "parallel.tensor of at least 1, found 0"),
    (Parallel(data=-1), 4, "parallel.data of at least 1, found -1"),
    (Parallel(tensor=8), 8, "model.heads divisible by parallel.tensor = 8, found 4"),
    (Parallel(pipeline=8), 8, "at least one of 4 blocks per stage, found parallel.pipeline=8"),
    (Parallel(context=32), 32, "positions per sample divisible by 64, found 32"),
    (Parallel(sequence=True), 1, "parallel.tensor above 1 for parallel.sequence"),
    (Parallel(tables="rows"), 2, "embedding tables")])
def test_what_does_not_fit_is_refused_with_the_reason(parallel, processes, words):
    with pytest.raises(InvalidConfiguration, match=words) as error:
        check(parallel, DEEP, processes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("parallel", [Parallel(shard=2), Parallel(tensor=2), Parallel(pipeline=2), Parallel(context=2),
                                      Parallel(checkpointing="blocks")])
def test_a_benchmark_without_layout_can_only_be_copied(parallel):
    with pytest.raises(InvalidConfiguration, match="expected a benchmark"):
        check(parallel, Layout(), 2)
    check(Parallel(data=2, accumulation_steps=4), Layout(), 2)


def test_a_fitting_choice_passes():
    check(Parallel(tensor=2, sequence=True, context=2, pipeline=2, shard=2, checkpointing="blocks"), DEEP, 32)


def test_stages_have_all_blocks_in_order():
    shares = stage_blocks(126, 16)
    assert [i for share in shares for i in share] == list(range(126))
    assert {len(share) for share in shares} == {7, 8}


def test_groups_cover_all_ranks_once_with_tensor_innermost():
    chosen = sizes(Parallel(tensor=2, pipeline=2), 8)
    assert members(chosen, ("tensor",)) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert members(chosen, ("pipeline",)) == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert members(chosen, ("data", "shard", "context")) == [[0, 2], [1, 3], [4, 6], [5, 7]]
