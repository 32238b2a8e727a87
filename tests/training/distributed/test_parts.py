"""Parts of tensors, positions and pipelines, without processes."""

from dataclasses import dataclass

import pytest
import torch

from laptime.errors import InvalidConfiguration
from laptime.training.distributed.context import own_positions
from laptime.training.distributed.layout import Layout, Split
from laptime.training.distributed.pieces import Cut, norms, whole_norm, write
from laptime.training.distributed.pipeline import kind_of, tasks
from laptime.training.distributed.splits import matching, split
from laptime.training.distributed.vocabulary import cross_entropy
from laptime.training.distributed.world import World
from laptime.training.nn.causal_attention import CausalAttention

ALONE = World(0, 1, torch.device("cpu"))
SECOND = World(1, 2, torch.device("cpu"))


def test_cut_takes_its_part_of_every_section():
    whole = torch.arange(12).view(12, 1)
    assert Cut(SECOND, 0, parts=3).of(whole)[:, 0].tolist() == [2, 3, 6, 7, 10, 11]
    assert Cut(SECOND, 1).of(torch.arange(8).view(2, 4)).tolist() == [[2, 3], [6, 7]]


def test_write_fills_a_whole_parameter_and_leaves_one_without_storage():
    parameter = torch.nn.Parameter(torch.zeros(2))
    write(parameter, torch.tensor([1.0, 2.0]))
    assert parameter.tolist() == [1, 2]
    write(torch.nn.Parameter(torch.zeros(2, device="meta")), torch.ones(2))


def test_norms_of_undivided_tensors_are_their_own():
    tensors = [torch.tensor([3.0, 4.0]), torch.tensor([12.0])]
    assert norms(tensors, tensors).tolist() == [5, 12]
    assert whole_norm(tensors, tensors).item() == 13


def test_split_refuses_what_does_not_divide_and_names_it():
    model = torch.nn.ModuleDict({"odd": torch.nn.Linear(4, 3)})
    with pytest.raises(InvalidConfiguration, match=r"dimension 0 of odd.weight divisible by 1 x parallel.tensor = 2, found 3"):
        split(model, Layout(splits=(Split("odd", "columns"),)), SECOND, sequence=False)


@pytest.mark.parametrize(("style", "sequence", "summed"), [("partial", False, True), ("partial", True, True), ("sequence", True, True),
                                                         ("sequence", False, False)])
def test_gradients_of_whole_parameters_that_see_a_part_are_summed(style, sequence, summed):
    model = torch.nn.ModuleDict({"down": torch.nn.Linear(4, 3, bias=False)})
    done = split(model, Layout(splits=(Split("down", style),)), SECOND, sequence=sequence)
    assert done.partial == ({"down.weight"} if summed else set())
    assert not done.cuts
    assert model["down"].weight.shape == (3, 4)


def test_split_refuses_a_name_that_no_module_has():
    with pytest.raises(InvalidConfiguration, match=r"expected modules 'a.\*.b'"):
        list(matching(torch.nn.Linear(1, 1), "a.*.b"))


def test_star_stands_for_one_name():
    model = torch.nn.ModuleDict({"a": torch.nn.ModuleDict({"b": torch.nn.ModuleDict({"c": torch.nn.Identity()})})})
    assert [name for name, _ in matching(model, "a.*")] == ["a.b"]
    assert [name for name, _ in matching(model, "a.*.c")] == ["a.b.c"]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_positions_of_all_processes_are_all_positions_equally_dear(size):
    shares = [own_positions(16, World(rank, size, torch.device("cpu"))) for rank in range(size)]
    assert sorted(torch.cat(shares).tolist()) == list(range(16))
    assert len({int((share + 1).sum()) for share in shares}) == 1  # keys seen


@pytest.mark.parametrize(("schedule", "stage", "most"), [("gpipe", 0, 6), ("1f1b", 0, 4), ("1f1b", 3, 1), ("1f1b", 2, 2)])
def test_schedule_runs_everything_once_and_holds_as_much_as_it_says(schedule, stage, most):
    order, waiting, highest = list(tasks(schedule, stage, 4, 6)), set(), 0
    for task, i in order:
        if task == "forward":
            waiting.add(i)
        else:
            waiting.remove(i)
        highest = max(highest, len(waiting))
    assert (len(order), waiting, highest) == (12, set(), most)


@dataclass(frozen=True)
class Micro:
    words: torch.Tensor
    lengths: tuple


def test_kind_is_of_shapes_and_plain_values():
    one, same, other = Micro(torch.ones(2), (1,)), Micro(torch.zeros(2), (1,)), Micro(torch.ones(2), (2,))
    assert kind_of(one) == kind_of(same) != kind_of(other)
    assert kind_of((one, torch.ones(3))) != kind_of((one, torch.ones(4)))


def test_cross_entropy_of_one_process_is_torch_s_and_zero_for_ignored_labels():
    logits, labels = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(1)), torch.tensor([[0, -1, 4], [2, 2, -5]])
    losses = cross_entropy(logits, labels, ALONE)
    expected = -logits.log_softmax(-1)[0, 2, 4]
    assert losses[0, 2].item() == pytest.approx(expected.item(), rel=1e-6)
    assert losses[0, 1].item() == losses[1, 2].item() == 0


def test_attention_with_grouped_heads_is_the_plain_formula():
    generator = torch.Generator().manual_seed(2)
    q, k, v = (torch.randn(2, heads, 5, 4, dtype=torch.float64, generator=generator) for heads in (4, 2, 2))
    scores = q @ k.repeat_interleave(2, 1).transpose(-2, -1) / 2.0
    seen = torch.ones(5, 5, dtype=torch.bool).tril()
    expected = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v.repeat_interleave(2, 1)
    assert torch.allclose(CausalAttention()(q, k, v), expected, atol=1e-12)
