"""State: every bit counts, nothing is replaced, damaged files are said to be damaged."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from laptime.errors import DataProblem
from laptime.training import state as state_module
from laptime.training.optim.adagrad import Adagrad
from laptime.training.optim.sgd import SGD
from laptime.training.state import Count, Counter, Saved, State, checksum, state_of


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


# --- tables too big to copy ---

def big_table(rows=5000, width=32):
    """A session's state with a table and its sums of 640 kB each, of which a "warm-up" touches a few rows."""
    model = torch.nn.Embedding(rows, width, sparse=True)
    optimizer = Adagrad(model.parameters(), learning_rate=0.1)
    touched = torch.tensor([3, 17, 4000])
    return model, optimizer, state_of(modules={"m": model}, optimizers={"adagrad": optimizer},
                                      touched={"m.weight": lambda: touched})


def stepped(model, optimizer, rows):
    model(torch.tensor(rows)).sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


class Largest(TorchDispatchMode):
    """Bytes of the largest memory that an operation made."""

    found = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = {one.untyped_storage().data_ptr() for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        made = [one.untyped_storage() for one in tree_leaves(out) if isinstance(one, torch.Tensor)]
        self.found = max([self.found, *(one.nbytes() for one in made if one.data_ptr() not in known)])
        return out


@pytest.fixture
def no_copies(monkeypatch):
    monkeypatch.setattr(state_module, "COPIED_BYTES", 1 << 19)
    monkeypatch.setattr(state_module, "CHUNK_WORDS", 1 << 10)


def test_touched_rows_of_a_big_table_and_of_its_sums_are_put_back(no_copies):
    model, optimizer, state = big_table()
    assert set(state.touched) == {"m.weight", "adagrad.group0.param0.sum"}
    whole, before, saved = state.copy(), state.fingerprint(), state.aside()
    assert saved.names == {*state.tensors}
    stepped(model, optimizer, [3, 4000, 3])
    assert set(state.difference(saved)) >= {"m.weight", "adagrad.group0.param0.sum"}
    assert state.fingerprint() != before
    state.restore(saved)
    assert state.difference(saved) == []
    assert state.difference(whole) == []  # bit for bit, of every row
    assert state.fingerprint() == before


@pytest.mark.parametrize("row", [0, 2500, 4999])
def test_change_of_a_row_that_was_not_to_be_touched_is_seen(no_copies, row):
    model, optimizer, state = big_table()
    saved = state.aside()
    stepped(model, optimizer, [3, row])
    state.restore(saved)
    assert state.difference(saved) == ["m.weight", "adagrad.group0.param0.sum"]


def test_neither_putting_aside_nor_comparing_takes_the_memory_of_a_big_table(no_copies):
    _, _, state = big_table()
    with Largest() as made:
        saved = state.aside()
        state.fingerprint()
        state.restore(saved)
        assert state.difference(saved) == []
    assert 0 < made.found <= state.tensors["m.weight"].nbytes / 10
    with Largest() as made:  # the measure would see it
        state.copy()
    assert made.found == state.tensors["m.weight"].nbytes


def test_tables_of_less_than_the_limit_are_copied_like_all_else():
    _, _, state = big_table()
    assert (state.touched, state.aside().parts) == ({}, {})
    assert state.aside().tensors.keys() == state.tensors.keys()


def test_process_that_warm_up_touches_no_row_of_puts_none_aside(no_copies):
    model, optimizer, _ = big_table()
    state = state_of(modules={"m": model}, optimizers={}, touched={"m.weight": lambda: torch.empty(0, dtype=torch.int64)})
    saved = state.aside()
    state.restore(saved)
    assert (state.difference(saved), len(saved.parts["m.weight"].rows)) == ([], 0)
    stepped(model, optimizer, [3])
    assert state.difference(saved) == ["m.weight"]


def test_frozen_table_is_not_put_aside(no_copies):
    table = torch.nn.Embedding(5000, 32)
    state = state_of(modules={"m": table}, optimizers={}, frozen=["m.weight"], touched={"m.weight": lambda: torch.tensor([1])})
    assert (state.aside().names, state.touched) == (set(), {})


def test_files_hold_big_tables_whole(no_copies, tmp_path):
    model, optimizer, state = big_table()
    with pytest.raises(ValueError, match=r"rows of adagrad.group0.param0.sum, m.weight only"):
        state.aside().save(tmp_path / "state.pt")
    stepped(model, optimizer, [3, 2500])
    state.copy().save(tmp_path / "state.pt")
    other = big_table()[2]
    other.restore(Saved.load(tmp_path / "state.pt"))
    assert other.fingerprint() == state.fingerprint()
    assert torch.equal(other.tensors["m.weight"], model.weight)


@pytest.mark.parametrize("size", [1, 7, 8, 8191, 8192, 8193, 20000])
def test_checksum_sees_any_single_bit(no_copies, size):
    data = torch.randint(256, (size,), dtype=torch.uint8)
    before = checksum(data)
    for byte in {0, size // 2, size - 1}:
        for bit in range(8):
            flip(data, byte, bit)
            assert checksum(data) != before
            flip(data, byte, bit)
    assert checksum(data) == before


def test_checksum_sees_changes_that_sums_are_blind_to(no_copies):
    """Rows exchanged, a row negated (sign bits only), the signs of two numbers, zeros added at the end."""
    table = torch.randn(300, 32)
    found = [checksum(table), checksum(table.roll(1, 0)), checksum(torch.cat([table, torch.zeros(1, 32)]))]
    for rows, columns in ((slice(5, 6), slice(None)), (slice(5, 7), slice(1, 2)), (slice(0, 300, 64), slice(1, 2)),
                          (slice(None), slice(None)), (slice(None), slice(1, None, 2)), (slice(5, 6), slice(1, 5, 2))):
        changed = table.clone()
        changed[rows, columns] = -changed[rows, columns]
        found.append(checksum(changed))
    assert len(set(found)) == len(found)


def test_checksum_reads_memory_wherever_it_begins():
    whole = torch.randn(1001)
    assert checksum(whole[1:]) == checksum(whole[1:].clone())
