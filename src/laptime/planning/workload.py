"""What a benchmark asks of a machine, from the files of its folder: work, golden values, reference points. No torch."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from laptime.config import SuitePath
from laptime.errors import UserError
from laptime.rules.load import load_round, round_names
from laptime.rules.model import BenchmarkRules
from laptime.scoring.rcp import statistics
from laptime.suite import BUILT_IN, folders

WORK, GOLDEN = "work.json", "golden.json"
WIDE, NARROW = 4, 2  # bytes of a weight as work is measured, and of a frozen one as it is kept in a bfloat16 run


@dataclass(frozen=True)
class Workload:
    """One benchmark at full scale.

    flop_per_sample: model operations, forward and backward; activation_bytes: of one sample in bfloat16;
    block_bytes: what one of `blocks` blocks hands to the next, for one sample; weight_bytes and optimizer_bytes: of the
    whole model; trained: share of the weights that have gradients.
    """

    name: str
    flop_per_sample: float
    activation_bytes: float
    parameters: int
    trained: float
    weight_bytes: float
    optimizer_bytes: float
    blocks: int
    block_bytes: float

    @property
    def gradient_bytes(self) -> float:
        return self.weight_bytes * self.trained


def workload(name: str, suite: SuitePath = BUILT_IN) -> Workload:
    """Raises UserError for a benchmark whose work nobody has measured."""
    folder = folders(suite).get(name)
    if folder is None or not (folder / WORK).is_file():
        raise UserError(f"expected {WORK} in the folder of benchmark '{name}', found none",
                        hint=f"Known: {', '.join(measured(suite)) or 'none'}. Measure it: python -m laptime.bench.work "
                             f"{name}")
    work = json.loads((folder / WORK).read_text(encoding="utf-8"))
    trained, frozen = _parameters(folder, work["parameters"])
    scale = (trained + frozen) / work["parameters"]  # work may be measured with smaller tables
    weights = work["parameter_bytes"] * scale - (WIDE - NARROW) * frozen
    return Workload(name, work["flop_per_sample"], work["activation_bytes_per_sample"], trained + frozen,
                    work["trained_parameters"] / work["parameters"], weights, work["optimizer_bytes"] * scale,
                    work["blocks"], work["block_bytes_per_sample"])


def measured(suite: SuitePath = BUILT_IN) -> list[str]:
    """Benchmarks whose work is known."""
    return [name for name, folder in folders(suite).items() if (folder / WORK).is_file()]


def _parameters(folder: Path, otherwise: int) -> tuple[int, int]:
    """(trained, frozen) weights of the full model, as far as its golden values tell them apart."""
    golden = folder / GOLDEN
    found = json.loads(golden.read_text(encoding="utf-8")) if golden.is_file() else {"parameters": otherwise}
    return int(found["parameters"]), int(found.get("frozen_parameters", 0))


def latest_rules(name: str, round_name: str = "") -> tuple[str, BenchmarkRules]:
    """A benchmark's rules in an official round, the latest that has it. Raises UserError."""
    for one in [round_name] if round_name else reversed(round_names()):
        found = load_round(one)
        if (round_name or found.kind == "official") and name in found.benchmarks:
            return one, found.benchmarks[name]
    raise UserError(f"expected an official round with benchmark '{name}', found none", hint="See `laptime list`.")


def samples_to_target(rules: BenchmarkRules, batch: float, per_unit: float) -> float:
    """Samples that a run of `batch` needs by the reference points: on the line between the two neighbours.

    Outside the points' range the nearest point's number of samples (below it) or of steps (above it) is kept.
    Raises UserError for a round without reference points.
    """
    points = sorted((point.batch_size, float(statistics(point, rules.drop).mean)) for point in rules.references)
    if not points:
        raise UserError(f"expected reference points of '{rules.name}' in round {rules.round}, found none",
                        hint="Give a round that has them: --round.")
    (first, least), (last, most) = points[0], points[-1]
    if batch <= first:
        return least * per_unit
    if batch >= last:
        return most * per_unit * batch / last
    low, high = next(pair for pair in pairwise(points) if pair[0][0] <= batch <= pair[1][0])
    share = (batch - low[0]) / (high[0] - low[0]) if high[0] > low[0] else 0.0
    return (low[1] + share * (high[1] - low[1])) * per_unit


def samples_per_unit(name: str, unit: str, suite: SuitePath = BUILT_IN) -> float:
    """How many samples an epoch, a token or a sample is. Raises UserError for what nothing says."""
    if unit == "samples":
        return 1.0
    golden = json.loads((folders(suite)[name] / GOLDEN).read_text(encoding="utf-8"))["full_manifest"]
    if unit == "epochs" and golden.get("train_samples"):
        return float(golden["train_samples"])
    length = _tokens_per_sample(name) if unit == "tokens" else None
    if length is None:
        raise UserError(f"expected the size of one of the {unit} of '{name}' in its golden values or rules, found none")
    return 1.0 / length


def _tokens_per_sample(name: str) -> float | None:
    """What the latest official round prescribes."""
    keys = latest_rules(name)[1].keys
    lengths = [rule.constraint.equals for rule in keys if rule.key == "max_sequence_length"]
    return next((float(one) for one in lengths if isinstance(one, int | float)), None)
