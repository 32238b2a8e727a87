"""Evaluation points and positions as formulas: computable everywhere, and where the reference runs really converged.

A reference run converges at an evaluation, so every value of a reference convergence point must be a position that the
rules prescribe at its batch size (an evaluation may be rounded up to the next batch).
"""

import itertools
import math

import pytest

from laptime.rules.load import load_round, round_names
from laptime.rules.ranges import is_official

OFFICIAL = [name for name in round_names() if is_official(name)]
PLACES = [(name, folder) for name in OFFICIAL for folder in load_round(name).benchmarks]
TRAINING = {"dlrm": 4195197692, "dlrm_dcnv2": 4195197692, "rgat": 94605581}  # examples, last batch dropped; sheets of facts
FRACTIONS = {"dlrm", "dlrm_dcnv2", "rgat"}  # of an epoch; reference points are rounded to two digits
LENGTH = 2048  # tokens of a GPT-3 sequence

# (folder, round) -> batch sizes whose reference runs were evaluated at other points than the rules ask; None: all
ELSEWHERE = {
    **{("bert", name): None for name in OFFICIAL},  # every 25,000 samples, at any batch size
    **{("llama31_8b", name): {96} for name in ("v5.1", "v6.0", "v6.1")},  # one step later than needed: every 12,384
    ("ssd", "v1.0"): {4096},  # epochs 85 and 90; the text of this round ends at 80, the next one says every 5
    ("unet3d", "v3.0"): {32, 64}, ("unet3d", "v3.1"): {32, 64},  # s drops the last batch
    ("unet3d", "v4.0"): {64},  # every 3,360 samples, rounded to whole batches
}


def names_of(folder, batch, **more):
    return {"global_batch_size": batch, "max_sequence_length": LENGTH, "evaluation_offset": 0,
            "samples_per_epoch": TRAINING.get(folder, 1000 * batch) // batch * batch} | more


def points(rules, names):
    """The prescribed evaluation points, without end where there is a step."""
    first = [point.value(names) for point in rules.evaluations.points]
    if rules.evaluations.step is None:
        return iter(first)
    return itertools.chain(first, itertools.count(first[-1] + (step := rules.evaluations.step.value(names)), step))


def positions(rules, names, last):
    """What the lines of the evaluations up to position `last` say."""
    batch, found = names["global_batch_size"], []
    for point in points(rules, names):
        samples = math.ceil(point / batch) * batch
        epoch = point if rules.evaluations.unit == "epochs" else math.ceil(samples / names["samples_per_epoch"])
        at = {"epoch": epoch, "samples": samples, "step": samples // batch}
        found.append(rules.position.value.value(names | at))
        if found[-1] >= last:
            break
    return found


def misplaced(rules, reference):
    offsets = range(4) if any("evaluation_offset" in point.names() for point in rules.evaluations.points) else [0]
    last = max(reference.values)
    found = [position for offset in offsets
             for position in positions(rules, names_of(rules.name, reference.batch_size, evaluation_offset=offset), last)]
    near = 0.005 if rules.name in FRACTIONS else 0
    return [value for value in reference.values if not any(abs(value - position) <= near for position in found)]


@pytest.mark.parametrize(("name", "folder"), PLACES)
def test_formulas_need_nothing_but_sizes(name, folder):
    rules, names = load_round(name).benchmarks[folder], names_of(folder, 64)
    ahead = list(itertools.islice(points(rules, names), 5))
    assert ahead[0] > 0
    assert all(before < after for before, after in itertools.pairwise(ahead))
    assert positions(rules, names, 0)[0] >= 0
    assert rules.limit is None or rules.limit.value(names) > 0


@pytest.mark.parametrize(("name", "folder"), [place for place in PLACES if place[0] >= "v1.0"])
def test_reference_runs_converge_at_prescribed_points(name, folder):
    rules = load_round(name).benchmarks[folder]
    wrong = {reference.batch_size for reference in rules.references if misplaced(rules, reference)}
    wanted = ELSEWHERE.get((folder, name), set())
    assert wrong == ({reference.batch_size for reference in rules.references} if wanted is None else wanted)


@pytest.mark.parametrize(("name", "folder", "batch", "wanted"), [
    ("v0.7", "bert", 256, [3000000, 3500000]),
    ("v5.0", "bert", 6144, [200000, 400000]),
    ("v4.0", "llama2_70b_lora", 8, [1536, 1920]),  # as public logs
    ("v5.1", "llama31_405b", 1152, [276480, 294912]),
    ("v6.0", "deepseekv3_671b", 16384, [16384, 32768]),
    ("v6.1", "deepseekv3_671b", 16384, [43 * 16384, 44 * 16384]),
    ("v6.1", "qwen35_397b_grpo", 256, [4608, 4864]),
    ("v2.0", "unet3d", 56, [1000, 1020]),
    ("v2.0", "unet3d", 32, [875, 893]),  # ceil(168000 / 192), 18 more
    ("v0.7", "ssd", 1024, [40, 50]),
    ("v1.1", "ssd", 1024, [5, 10]),
])
def test_first_points(name, folder, batch, wanted):
    rules = load_round(name).benchmarks[folder]
    assert list(itertools.islice(points(rules, names_of(folder, batch)), 2)) == wanted


def test_limit_of_unet3d():
    rules = load_round("v4.0").benchmarks["unet3d"]
    assert [rules.limit.value(names_of("unet3d", batch)) for batch in (56, 32)] == [10000, 8750]
