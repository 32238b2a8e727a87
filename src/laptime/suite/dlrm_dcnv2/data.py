"""Data of DLRM-DCNv2: prepared once (real or generated), then read in order; one path at all scales.

Training reads the training days once from the first sample to the last, in whole batches (the reference may drop the
last part of one): they were shuffled when they were made, and no run may shuffle again. Every process reads the dense
features and labels of its own samples, and of its own tables the ids of everybody's samples.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from laptime.events import Sizes
from laptime.suite.dlrm_dcnv2.clicks import GENERATOR, write_published
from laptime.suite.dlrm_dcnv2.config import DLRMConfig
from laptime.suite.dlrm_dcnv2.published import facts, reformat
from laptime.suite.dlrm_dcnv2.reader import Clicks, open_day
from laptime.training.data.described import GENERATED, Count, check_described
from laptime.training.data.prefetch import prefetched
from laptime.training.data.sampler import Spread
from laptime.training.data.store import Manifest, Store
from laptime.training.data.transfer import Sent, Transfer
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.nn.embedding_tables import Grouping, Lookups, grouped, shares_of
from laptime.training.seeds import Seeds

NAME = "criteo-multi-hot"
AHEAD = 3  # batches made before they are asked for
UNPACKED = "published-"  # prefix of the folder that generated files pass through
SHUFFLED_LABELS_KEY = 20232023  # of the fixed permutation of the planted fault


class Micro(NamedTuple):
    """This rank's samples: dense (n, F), labels (n); `lookups` of all ranks' samples in this rank's tables."""

    dense: torch.Tensor
    labels: torch.Tensor
    lookups: Lookups


class EvalBatch(NamedTuple):
    """As `Micro`; `valid` (n) is False for padding."""

    dense: torch.Tensor
    labels: torch.Tensor
    lookups: Lookups
    valid: torch.Tensor


def prepare(config: DLRMConfig, source: Path, root: Path) -> None:
    """Verify the published files under `source` (`published.py`) and take them into `root`. Raises DataProblem."""
    reformat(config, source, root, name=NAME, generator="published")


def generate(config: DLRMConfig, root: Path, seed: int) -> None:
    """Draw the clicks of `clicks.py` in the published layout, then take them in as real data are."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{UNPACKED}*"):  # by an interrupted call
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=root, prefix=UNPACKED) as folder:
        write_published(config, Path(folder), seed)
        reformat(config, Path(folder), root, name=NAME + GENERATED, generator=recipe(config))


def recipe(config: DLRMConfig) -> str:
    """What generated data was made by: another recipe makes another data set."""
    data = config.data
    return f"{GENERATOR}, {data.hidden} hidden, effects {data.main_effect:g} and {data.joint_effect:g}"


def sizes(config: DLRMConfig, manifest: Manifest) -> Sizes:
    """Sample counts; one pass is all there is. Raises DataProblem for data of another configuration."""
    check_described(manifest, (Count(name, expected, manifest.count(name)) for name, expected in facts(config).items()),
                    recipe(config))
    data = config.data
    whole = data.train_samples // config.global_batch_size * config.global_batch_size
    return Sizes(data.train_samples, data.eval_samples, whole, limit_samples=whole)


@dataclass
class Feed:
    """What both readers share: which tables or rows are this rank's, how ranges of samples become tensors there."""

    store: Store
    config: DLRMConfig
    world: World
    clicks: Clicks | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        model = self.config.model
        self.share = shares_of(model.rows, model.bags, self.world.size, self.config.parallel.tables)[self.world.rank]
        self.tables, self.starts = self.share.tables, self.share.starts
        self.bags = [model.bags[k] for k in self.tables]
        self.transfer = Transfer(self.world.device)

    def opened(self, days: Sequence[int], count: int) -> Clicks:
        """Samples of some days, opened on first use. Raises DataTouchedTooEarly and DataProblem."""
        if self.clicks is None:
            self.clicks = Clicks([open_day(self.store.data, day, self.config.model) for day in days], count)
        return self.clicks

    def flat(self, start: int, stop: int, size: int) -> torch.Tensor:
        """Rows of own tables for samples start..stop-1, filled up to `size` with first rows."""
        assert self.clicks is not None
        shifted = self.clicks.flat(start, stop, self.tables, self.share.shifts)
        found = torch.from_numpy(self.share.flat(shifted, self.bags))
        return found if len(found) == size else torch.cat([found, found[:1].expand(size - len(found), -1)])

    def grouping(self, flat: torch.Tensor) -> Grouping:
        return grouped(flat, self.bags, whole=self.share.whole)


@dataclass
class TrainBatches(Feed):
    """Training batches of this rank, in file order: call with an epoch (all alike) after the data door is open."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.spread = Spread(self.config.global_batch_size, self.world.size, self.world.rank,
                             self.config.parallel.accumulation_steps)
        self._labels: torch.Tensor | None = None

    def __call__(self, epoch: int) -> Iterator[Batch[Micro]]:
        """Whole global batches, made ahead in a thread. Raises DataTouchedTooEarly and DataProblem."""
        with closing(prefetched(self._steps, AHEAD)) as steps:
            for step in steps:
                yield Batch(tuple(self._received(*micro) for micro in step), self.config.global_batch_size)

    def _steps(self) -> Iterator[tuple[tuple[Sent, Grouping | None], ...]]:
        data, batch = self.config.data, self.config.global_batch_size
        clicks = self.opened(range(data.days - 1), data.train_samples)
        if data.shuffle_labels:
            fixed = np.random.Generator(np.random.Philox(SHUFFLED_LABELS_KEY))
            self._labels = torch.from_numpy(fixed.permutation(clicks.labels(0, clicks.count)))
        joint = self.spread.micro_batch_size * self.world.size
        for start in range(0, data.train_samples - batch + 1, batch):
            yield tuple(self._sent(clicks, low, joint) for low in range(start, start + batch, joint))

    def _sent(self, clicks: Clicks, low: int, joint: int) -> tuple[Sent, Grouping | None]:
        mine = low + self.world.rank * self.spread.micro_batch_size
        upto = mine + self.spread.micro_batch_size
        labels = torch.from_numpy(clicks.labels(mine, upto)) if self._labels is None else self._labels[mine:upto]
        flat = self.flat(low, low + joint, joint)
        here = self.world.device.type == "cpu"  # accelerators sort faster than the host
        sent = self.transfer.send((torch.from_numpy(clicks.dense(mine, upto)), labels, flat))
        return sent, self.grouping(flat) if here else None

    def _received(self, sent: Sent, grouping: Grouping | None) -> Micro:
        dense, labels, flat = self.transfer.receive(sent)
        return Micro(dense, labels, Lookups(flat, grouping or self.grouping(flat)))


@dataclass
class EvalBatches(Feed):
    """Evaluation batches of this rank: all ranks together see every sample once, in batches of one shape."""

    def __iter__(self) -> Iterator[EvalBatch]:
        with closing(prefetched(self._batches, AHEAD)) as batches:
            for sent in batches:
                dense, labels, flat, valid = self.transfer.receive(sent)
                yield EvalBatch(dense, labels, Lookups(flat), valid)

    def _batches(self) -> Iterator[Sent]:
        data = self.config.data
        clicks = self.opened([data.days - 1], data.eval_samples)
        share = data.eval_batch_size // self.world.size
        for low in range(0, data.eval_samples, data.eval_batch_size):
            mine = min(data.eval_samples, low + self.world.rank * share)
            upto = min(data.eval_samples, mine + share)
            dense, labels = torch.zeros(share, self.config.model.dense_features), torch.zeros(share)
            dense[:upto - mine] = torch.from_numpy(clicks.dense(mine, upto))
            labels[:upto - mine] = torch.from_numpy(clicks.labels(mine, upto))
            flat = self.flat(low, min(data.eval_samples, low + data.eval_batch_size), data.eval_batch_size)
            yield self.transfer.send((dense, labels, flat, torch.arange(share) < upto - mine))


def synthetic_batches(config: DLRMConfig, world: World, steps: int = 2) -> Iterator[Batch[Micro]]:
    """Training batches of the real shapes without data, for warm-up."""
    parts = config.parallel.accumulation_steps
    for _ in range(steps):
        micro = tuple(_synthetic(config, world, config.global_batch_size // parts) for _ in range(parts))
        yield Batch(micro, config.global_batch_size)


def synthetic_rows(config: DLRMConfig, world: World) -> torch.Tensor:
    """Rows of this rank's tables that training on synthetic batches changes, in rising order."""
    grouped_rows = [micro.lookups.grouping.rows for batch in synthetic_batches(config, world) for micro in batch.micro
                    if micro.lookups.grouping is not None]
    return torch.cat(grouped_rows).unique()


def synthetic_eval_batches(config: DLRMConfig, world: World) -> Iterator[EvalBatch]:
    """One evaluation batch of the real shapes without data, for warm-up."""
    dense, labels, lookups = _synthetic(config, world, config.data.eval_batch_size)
    yield EvalBatch(dense, labels, Lookups(lookups.flat_NL), torch.ones_like(labels, dtype=torch.bool))


def _synthetic(config: DLRMConfig, world: World, joint: int) -> Micro:
    """Samples of all ranks are `joint`; ids are the first few of each table, so that few rows are touched."""
    generator, model = Seeds(0).torch("synthetic"), config.model
    share = shares_of(model.rows, model.bags, world.size, config.parallel.tables)[world.rank]
    bags = [model.bags[k] for k in share.tables]
    columns = [torch.randint(min(model.rows[k], 1 << 16), (joint, model.bags[k]), generator=generator) + shift
               for k, shift in zip(share.tables, share.shifts, strict=True)]
    flat = torch.from_numpy(share.flat(torch.cat(columns, dim=1).numpy(), bags)).to(world.device)
    size = joint // world.size
    dense = torch.rand(size, model.dense_features, generator=generator).mul_(4.0)  # about the range of the logarithms
    labels = torch.randint(2, (size,), generator=generator).float()
    lookups = Lookups(flat, grouped(flat, bags, whole=share.whole))
    return Micro(dense.to(world.device), labels.to(world.device), lookups)
