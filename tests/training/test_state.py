"""State: every bit counts, nothing is replaced, damaged files are said to be damaged."""

import pytest
import torch

from laptime.errors import DataProblem
from laptime.training.optim.sgd import SGD
from laptime.training.state import Count, Counter, Saved, State, state_of


def made():
    generator = torch.Generator().manual_seed(3)
    tensors = {"weight": torch.arange(6, dtype=torch.float32).reshape(2, 3), "half": torch.ones(3, dtype=torch.bfloat16),
               "scalar": torch.tensor(2.5, dtype=torch.float64), "mask": torch.tensor([True, False]),
               "number": torch.tensor(7), "empty": torch.zeros(0)}
    return State(tensors, {"shuffle": generator}, {"steps": Count(4)})


def flip(tensor, byte, bit):
    """Flip one bit in place."""
    tensor.view(-1).view(torch.uint8)[byte] ^= 1 << bit


def test_equal_states_have_equal_fingerprints():
    assert made().fingerprint() == made().fingerprint()


@pytest.mark.parametrize("name", ["weight", "half", "scalar", "number"])
def test_fingerprint_and_difference_see_any_single_bit(name):
    state = made()
    saved, before = state.copy(), state.fingerprint()
    tensor = state.tensors[name]
    seen = set()
    for byte in range(tensor.numel() * tensor.element_size()):
        for bit in range(8):
            flip(tensor, byte, bit)
            seen.add(state.fingerprint())
            assert state.difference(saved) == [name]
            flip(tensor, byte, bit)
    assert len(seen) == 8 * tensor.numel() * tensor.element_size()
    assert before not in seen
    assert state.fingerprint() == before


def test_fingerprint_sees_shape_type_and_name():
    zeros = torch.zeros(4)
    states = [{"a": zeros}, {"b": zeros}, {"a": zeros.reshape(2, 2)}, {"a": zeros.view(torch.int32)}, {"a": torch.zeros(3)}]
    assert len({State(tensors).fingerprint() for tensors in states}) == len(states)


def test_fingerprint_does_not_depend_on_order_or_strides():
    one, other = torch.arange(6.0).reshape(2, 3), torch.ones(2)
    turned = one.t().contiguous().t()
    assert not turned.is_contiguous()
    assert State({"a": one, "b": other}).fingerprint() == State({"b": other, "a": turned}).fingerprint()


def test_nan_equals_itself_and_minus_zero_differs_from_zero():
    state = State({"x": torch.tensor([float("nan"), 0.0])})
    saved, before = state.copy(), state.fingerprint()
    assert state.difference(saved) == []
    state.tensors["x"][1] = -0.0
    assert state.difference(saved) == ["x"]
    assert state.fingerprint() != before
    state.restore(saved)
    assert state.fingerprint() == before


def test_two_kinds_of_nan_are_different():
    quiet, other = torch.tensor([0x7FC00000, 0x7FC00001], dtype=torch.int32).view(torch.float32)
    assert State({"x": quiet}).fingerprint() != State({"x": other}).fingerprint()


def test_generators_and_counters_are_part_of_the_state():
    state = made()
    saved, before = state.copy(), state.fingerprint()
    torch.rand(1, generator=state.generators["shuffle"])
    assert state.difference(saved) == ["shuffle"]
    moved = state.fingerprint()
    state.counters["steps"].value += 1
    assert state.difference(saved) == ["shuffle", "steps"]
    assert len({before, moved, state.fingerprint()}) == 3


def test_restore_writes_into_the_same_storage():
    state = made()
    saved, before = state.copy(), state.fingerprint()
    tensors = dict(state.tensors)
    places = {name: tensor.data_ptr() for name, tensor in tensors.items()}
    drawn = torch.rand(2, generator=state.generators["shuffle"])
    for tensor in state.tensors.values():
        tensor.zero_()
    state.counters["steps"].value = 99
    state.restore(saved)
    assert (state.fingerprint(), state.difference(saved), state.counters["steps"].value) == (before, [], 4)
    assert all(state.tensors[name] is tensor and tensor.data_ptr() == places[name] for name, tensor in tensors.items())
    assert torch.equal(torch.rand(2, generator=state.generators["shuffle"]), drawn)


def test_restore_works_on_parameters_that_need_gradients():
    layer = torch.nn.Linear(2, 2)
    state = state_of(modules={"m": layer}, optimizers={})
    saved = state.copy()
    with torch.no_grad():
        layer.weight.add_(1)
    state.restore(saved)
    assert state.difference(saved) == []
    assert layer.weight.requires_grad


def test_copy_does_not_follow_the_state():
    state = made()
    saved = state.copy()
    state.tensors["weight"].zero_()
    assert saved.tensors["weight"].sum() == 15


def test_saved_state_is_loaded_bit_for_bit(tmp_path):
    state = made()
    state.copy().save(tmp_path / "state.pt")
    other = made()
    for tensor in other.tensors.values():
        tensor.zero_()
    other.restore(Saved.load(tmp_path / "state.pt"))
    assert other.fingerprint() == state.fingerprint()


@pytest.mark.parametrize("damage", ["missing", "empty", "junk", "text", "truncated", "other content", "list", "tensor", "folder",
                                    "program"])
def test_damaged_file_is_said_to_be_damaged(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "state.pt"
    made().copy().save(path)
    whole = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "junk":
            path.write_bytes(bytes(range(256)) * 4)
        case "text":
            path.write_text("hello\n")
        case "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        case "other content":
            torch.save({"weights": torch.ones(2)}, path)
        case "list":
            torch.save([1, 2], path)
        case "tensor":
            torch.save(torch.ones(2), path)
        case "folder":
            path.unlink()
            path.mkdir()
        case "program":
            torch.save(Touch(), path)
    with pytest.raises(DataProblem, match="expected a saved state at") as error:
        Saved.load(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "touched").exists()


class Touch:
    """Would make a file when unpickled by a loader that runs what it reads."""

    def __reduce__(self):
        return eval, ("open('touched', 'w')",)


def test_state_of_modules_has_parameters_and_buffers():
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    module.register_buffer("scratch", torch.zeros(2), persistent=False)
    assert set(state_of(modules={"net": module}, optimizers={}).tensors) == {
        "net.0.weight", "net.0.bias", "net.1.weight", "net.1.bias", "net.1.running_mean", "net.1.running_var",
        "net.1.num_batches_tracked", "net.scratch"}


def test_frozen_weights_are_named_and_neither_copied_nor_hashed():
    module = torch.nn.Linear(2, 3)
    state = state_of(modules={"net": module}, optimizers={}, frozen=["net.weight"])
    assert (set(state.tensors), set(state.frozen)) == ({"net.bias"}, {"net.weight"})
    assert set(state.copy().tensors) == {"net.bias"}
    before = state.fingerprint()
    with torch.no_grad():
        module.weight.add_(1)
    assert state.fingerprint() == before


def test_state_of_an_optimizer_has_its_tensors_and_tensor_rates():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], lr=torch.tensor(0.1), capturable=False, foreach=False)
    weight.grad = torch.ones(3)
    optimizer.step()
    found = state_of(modules={}, optimizers={"adam": optimizer}).tensors
    assert set(found) == {"adam.group0.lr", "adam.group0.param0.exp_avg", "adam.group0.param0.exp_avg_sq",
                          "adam.group0.param0.step"}
    assert found["adam.group0.lr"] is optimizer.param_groups[0]["lr"]


def test_state_of_our_optimizer_is_whole_before_the_first_step():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = SGD([weight], learning_rate=0.1)
    before = set(state_of(modules={}, optimizers={"sgd": optimizer}).tensors)
    weight.grad = torch.ones(3)
    optimizer.step()
    assert set(state_of(modules={}, optimizers={"sgd": optimizer}).tensors) == before
    assert len(before) >= 2


def test_generators_and_counters_are_passed_on():
    state = state_of(modules={}, optimizers={}, generators={"g": torch.Generator()}, counters={"c": Count(2)})
    assert (list(state.generators), state.counters["c"].value) == (["g"], 2)
    assert isinstance(Count(), Counter)
