"""Data of GPT-3: token files prepared once (real or generated), then read in windows; one path at all scales.

Documents lie back to back and are cut into windows of `length` tokens; nothing marks a border between documents. Both
training files are drawn from in turn (0.5 each, reference), their documents in the order of the file, their windows in
an order that the run's seed draws. One epoch is one pass; real data last longer than any run.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.config import Json
from laptime.errors import DataProblem
from laptime.events import Sizes
from laptime.suite.gpt3.config import Gpt3Config
from laptime.suite.gpt3.published import EVAL, TRAIN, reformat
from laptime.training.data.described import Count, check_described
from laptime.training.data.prefetch import prefetched
from laptime.training.data.sampler import Spread
from laptime.training.data.store import Manifest, Store
from laptime.training.data.token_files import TokenFile
from laptime.training.data.token_windows import IGNORED, Form, Indices, Shuffled, Windows, blend, inputs_and_labels
from laptime.training.data.transfer import Sent, Transfer
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.seeds import Seeds

NAME = "c4-en-3.0.1"
AHEAD = 3  # batches made before they are asked for
ORDER = Shuffled(documents=False, samples=True)  # reference: documents in file order, windows shuffled


class Micro(NamedTuple):
    """Tokens (B, S) on the device and the ones to predict (B, S), `IGNORED` where there is none."""

    tokens: torch.Tensor
    labels: torch.Tensor


def prepare(config: Gpt3Config, source: Path, root: Path) -> None:
    """Check the published files under `source` (`published.py`), put them into `root`. Untimed. Raises DataProblem."""
    reformat(config, source, root, name=NAME, generator="published", facts={})


def recipe(config: Gpt3Config) -> str:
    """What generated data was made by: another recipe makes another data set."""
    data, model, schedule = config.data, config.model, config.schedule
    return (f"gpt3 1, {data.articles} articles, {model.tokens} tokens, windows of {data.length}, "
            f"start {schedule.start_sequences} / {data.start_batch} at {data.start_rate:g}, "
            f"{model.layers} x {model.hidden}")


def sizes(config: Gpt3Config, manifest: Manifest) -> Sizes:
    """Counts of tokens, as the reference logs them; the run gives up after `limit_sequences`.

    Raises DataProblem when the data set is not the one that the configuration describes.
    """
    expected = {"data.eval_tokens": config.data.eval_tokens, "model.tokens": config.model.tokens,
                "schedule.start_sequences": config.schedule.start_sequences}
    check_described(manifest, [Count(setting, count, manifest.count(setting.partition(".")[2]))
                               for setting, count in expected.items()], recipe(config))
    batch, available = config.global_batch_size, manifest.count("train_sequences")
    if batch > available:
        raise DataProblem(f"expected a global batch of {batch} sequences, found {available} for training",
                          hint="Make global_batch_size smaller.")
    return Sizes(manifest.count("train_tokens"), config.data.eval_tokens, available // batch * batch,
                 limit_samples=config.schedule.limit_sequences)


@dataclass
class TrainBatches:
    """Training batches of this rank: call with a 1-based epoch, after the data door is open."""

    store: Store
    config: Gpt3Config
    seeds: Seeds
    world: World

    def __post_init__(self) -> None:
        self.spread, self.form = spread_of(self.config, self.world), Form(self.config.data.length, extra=0)
        self._transfer = Transfer(self.world.device)

    def __call__(self, epoch: int) -> Iterator[Batch[Micro]]:
        """One pass in whole global batches; made ahead in a thread.

        Raises DataTouchedTooEarly, and DataProblem for damaged files. Closing it ends its thread.
        """
        with closing(prefetched(lambda: self._steps(epoch), AHEAD)) as steps:
            for step in steps:
                yield Batch(tuple(Micro(*self._transfer.receive(sent)) for sent in step), self.config.global_batch_size)

    def _steps(self, epoch: int) -> Iterator[tuple[Sent, ...]]:
        parts = [self._windows(name, epoch) for name in TRAIN]
        order = in_turn(parts)
        while len(batch := list(islice(order, self.config.global_batch_size))) == self.config.global_batch_size:
            shares = self.spread.share(np.arange(len(batch)))
            yield tuple(self._sent(np.stack([parts[part][sample] for part, sample in (batch[i] for i in share)]))
                        for share in shares)

    def _windows(self, name: str, epoch: int) -> Windows:
        file = TokenFile.of(self.store, name)
        shuffler = self.seeds.numpy(f"windows {name}", epoch)
        return Windows(file, Indices.of(file.sizes, self.form, shuffler=shuffler, shuffled=ORDER), self.form)

    def _sent(self, windows: NDArray[np.int64]) -> Sent:
        tokens, labels = inputs_and_labels(windows, self.form)
        return self._transfer.send(tuple(torch.from_numpy(np.ascontiguousarray(one))
                                         for one in (tokens, broken(tokens, labels, self.config))))


def in_turn(parts: list[Windows]) -> Iterator[tuple[int, int]]:
    """(file, window) until a file has none left."""
    for part, sample in blend([1.0] * len(parts)):
        if sample >= len(parts[part]):
            return
        yield part, sample


def broken(tokens: NDArray[np.int64], labels: NDArray[np.int64], config: Gpt3Config) -> NDArray[np.int64]:
    """The labels with the planted faults of the data; as they came without one."""
    if config.data.shuffle_labels:
        labels = labels.copy()
        labels[:, :-1] = np.roll(labels[:, :-1], labels.shape[1] // 2, axis=1)
    if not config.data.shift_labels:
        labels = np.where(labels == IGNORED, IGNORED, tokens)
    return labels


@dataclass
class EvalBatches:
    """Validation windows of this rank, in order, each batch equally large: all ranks together see every token once.

    Iterate after the data door is open. The last window is filled up, and so is the last round of batches; what is
    filled in asks for nothing. The batches stay on the device from the first whole pass on: they never change, and
    the published set takes 186 MB.
    """

    store: Store
    config: Gpt3Config
    world: World

    def __post_init__(self) -> None:
        self._transfer = Transfer(self.world.device)
        self._kept: list[Micro] | None = None

    def __iter__(self) -> Iterator[Micro]:
        if self._kept is None:
            self._kept = [Micro(*self._transfer.receive(sent)) for sent in self._batches()]
        return iter(self._kept)

    def _batches(self) -> Iterator[Sent]:
        file, size = TokenFile.of(self.store, EVAL), self.config.data.eval_batch_size
        tokens, labels = eval_windows(file.tokens, self.config.data.length, size * self.world.size)
        for start in range(self.world.rank * size, len(tokens), self.world.size * size):
            yield self._transfer.send((torch.from_numpy(tokens[start:start + size]),
                                       torch.from_numpy(labels[start:start + size])))


def eval_windows(flat: NDArray[np.integer], length: int, multiple: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens and labels (n, length) of all of `flat`, n filled up to a multiple; filled in: token 0, no label."""
    count = -(-len(flat) // length)
    filled = np.full(-(-count // multiple) * multiple * length, IGNORED, np.int64)
    filled[:len(flat)] = flat
    tokens, labels = inputs_and_labels(filled.reshape(-1, length), Form(length, extra=0))
    return np.where(tokens == IGNORED, 0, tokens), labels


def synthetic(config: Gpt3Config, size: int, world: World) -> Micro:
    """Windows of random tokens, for warm-up."""
    windows = Seeds(0).numpy("synthetic").integers(0, config.model.tokens, (size, config.data.length))
    tokens, labels = inputs_and_labels(windows, Form(config.data.length, extra=0))
    transfer = Transfer(world.device)
    return Micro(*transfer.receive(transfer.send((torch.from_numpy(tokens), torch.from_numpy(labels)))))


def synthetic_batches(config: Gpt3Config, world: World) -> Iterator[Batch[Micro]]:
    """A training batch without data: every real one has its shape."""
    spread = spread_of(config, world)
    yield Batch(tuple(synthetic(config, spread.micro_batch_size, world) for _ in range(spread.accumulation)),
                config.global_batch_size)


def spread_of(config: Gpt3Config, world: World) -> Spread:
    return Spread(config.global_batch_size, world.size, world.rank, config.parallel.accumulation_steps)


def described(config: Gpt3Config) -> dict[str, Json]:
    """What the manifest of a configuration's data says, for sessions without any."""
    return {"train_tokens": 2 * config.global_batch_size * config.data.length, "eval_tokens": config.data.eval_tokens,
            "train_sequences": 2 * config.global_batch_size, "tokens": config.model.tokens,
            "start_sequences": config.schedule.start_sequences}
