"""Data of RNN-T: prepared once (real or generated), then read in batches; one path at all scales.

Source: the reference's data pipeline and bucketing sampler (training retired_benchmarks/rnnt). Order and augmentation
are functions of (run seed, epoch, utterance). Within a global batch utterances are sorted by length, so that those
computed together need little padding; what a step adds up does not depend on it.
"""

import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from laptime.config import Parallel
from laptime.errors import DataProblem
from laptime.events import Sizes
from laptime.suite.rnnt.config import RNNTConfig
from laptime.suite.rnnt.features import DITHER_TABLE, Clips, Features, frame_count, spliced_count
from laptime.suite.rnnt.published import TRANSCRIPTS, reformat
from laptime.suite.rnnt.reader import (
    SPEED,
    Micro,
    Shares,
    Utterances,
    draw_masks,
    dropout_keys,
    eval_clips,
    shares,
    train_clips,
)
from laptime.suite.rnnt.speech import GENERATOR, write_published
from laptime.training.data.buckets import bucketed_order
from laptime.training.data.described import GENERATED, Count, check_described
from laptime.training.data.prefetch import prefetched
from laptime.training.data.sampler import Draws, Indices, Spread, rank_slice
from laptime.training.data.shards import Shards
from laptime.training.data.store import Manifest, Store
from laptime.training.data.transfer import Sent, Transfer
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.nn.transducer_loss import Lattice
from laptime.training.seeds import Seeds
from laptime.training.speed import Precision, resolve

NAME = "librispeech"
AHEAD = 3  # batches made before they are asked for
T = TypeVar("T")

UNPACKED = "published-"  # prefix of the folder that generated files pass through


class EvalBatch(NamedTuple):
    """Features (T, B, F), own frames (B) and the places of the utterances in the evaluation part."""

    features_TBF: torch.Tensor
    frames_B: torch.Tensor
    samples: tuple[int, ...]


def prepare(config: RNNTConfig, source: Path, root: Path) -> None:
    """Check LibriSpeech in a published layout under `source` (`published.py`) and reformat it into `root`.

    Untimed; nothing in it depends on a run. Raises DataProblem.
    """
    reformat(config, source, root, name=NAME, generator="published")


def generate(config: RNNTConfig, root: Path, seed: int) -> None:
    """Speak the learnable data set of `speech.py` in the published layout, then reformat it as real data is."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{UNPACKED}*"):  # by an interrupted call
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=root, prefix=UNPACKED) as folder:
        content_hash = write_published(config.data, Path(folder, "LibriSpeech"), seed)
        reformat(config, Path(folder), root, name=NAME + GENERATED, generator=recipe(config), content_hash=content_hash)


def recipe(config: RNNTConfig) -> str:
    """What generated data was made by: another recipe makes another data set."""
    data = config.data
    return (f"{GENERATOR}, {'+'.join(map(str, data.train_utterances))}+{data.eval_utterances} utterances of "
            f"{data.words_low}-{data.words_high} words, spread {data.spread:g}")


def sizes(config: RNNTConfig, manifest: Manifest) -> Sizes:
    """Sample counts; the remainder of an epoch is dropped, and the log counts what is left (reference).

    Raises DataProblem when the data set is not the one that the configuration describes.
    """
    evaluation, longest = manifest.count("eval_samples"), manifest.facts.get("max_duration")
    check_described(manifest, (Count("data.eval_utterances", config.data.eval_utterances, evaluation),
                               Count("model.vocabulary", config.model.vocabulary, manifest.count("vocabulary")),
                               Count("data.max_duration", config.data.max_duration, longest)), recipe(config))
    kept = steps_per_epoch(config, manifest) * config.global_batch_size
    return Sizes(kept, evaluation, kept, limit_epochs=config.schedule.train_epochs)


def steps_per_epoch(config: RNNTConfig, manifest: Manifest) -> int:
    """Whole global batches in the training set. Raises DataProblem when there is none."""
    train = manifest.count("train_samples")
    if config.global_batch_size > train:
        raise DataProblem(f"expected a global batch of at most {train} training utterances, found "
                          f"{config.global_batch_size}", hint="Make global_batch_size smaller.")
    return train // config.global_batch_size


def features_of(config: RNNTConfig, seeds: Seeds, world: World) -> Features:
    """The audio pipeline of a run on its device."""
    noise = torch.empty(DITHER_TABLE, device="cpu").normal_(generator=seeds.torch("dither"))
    return Features(config.data, world.device, noise, Precision.of(resolve(config.speed, world.device)).parameters)


class Sending(NamedTuple):
    """A finished micro-batch, or one on its way: its tensors with how many are audio, the longest length, its cells."""

    micro: Micro | None
    sent: Sent
    audio: int
    longest: int
    cells: Lattice


@dataclass
class Feed:
    """Micro-batches on their way: sent to the device by one thread, made features of where that is cheapest.

    On a CPU the thread that reads also computes the features, beside training; elsewhere the device does.
    """

    features: Features
    time_stack: int

    def __post_init__(self) -> None:
        self._transfer = Transfer(self.features.device)
        self._early = self.features.device.type == "cpu"

    def send(self, made: Shares) -> Sending:
        """In the reading thread."""
        held = (*made.audio, made.frames_B, made.labels_UB, made.keys_B, *made.cells.tensors())
        sending = Sending(None, self._transfer.send(held), len(made.audio), made.longest, made.cells)
        return sending._replace(micro=self._finished(sending)) if self._early else sending

    def receive(self, sending: Sending) -> Micro:
        """In the training thread; the host does not wait."""
        return sending.micro if sending.micro is not None else self._finished(sending)

    def _finished(self, sending: Sending) -> Micro:
        tensors = self._transfer.receive(sending.sent)
        audio, rest = tensors[:sending.audio], tensors[sending.audio:]
        frames_B, labels_UB, keys_B = rest[:3]
        return Micro(self.features(*audio, longest=sending.longest), frames_B, labels_UB, keys_B,
                     sending.cells.at(rest[3:]))


@dataclass
class TrainBatches:
    """Training batches of this rank: call with a 1-based epoch, after the data door is open."""

    store: Store
    config: RNNTConfig
    seeds: Seeds
    world: World

    def __post_init__(self) -> None:
        self.spread = _spread(self.config, self.world)
        self._feed = Feed(features_of(self.config, self.seeds, self.world), self.config.model.time_stack)
        self._utterances: Utterances | None = None

    def __call__(self, epoch: int) -> Iterator[Batch[Micro]]:
        """One epoch: every utterance at most once over all ranks, in whole global batches; made ahead in a thread.

        Raises DataTouchedTooEarly, and DataProblem for damaged data. Closing it ends its threads.
        """
        with closing(prefetched(lambda: self._steps(epoch), AHEAD)) as steps:
            for step in steps:
                yield Batch(tuple(self._feed.receive(sending) for sending in step), self.config.global_batch_size)

    def utterances(self) -> Utterances:
        """The training part, opened on first use."""
        if self._utterances is None:
            self._utterances = Utterances(Shards(self.store, "train"), self.config.data)
            if self.config.data.shuffle_transcripts:
                self._utterances.shuffle_transcripts()
        return self._utterances

    def _steps(self, epoch: int) -> Iterator[tuple[Sending, ...]]:
        part, draws = self.utterances(), Draws.of(self.seeds, "augment", epoch)
        order = bucketed_order(self.seeds, epoch, part.lengths, buckets=self.config.data.buckets,
                               global_batch_size=self.config.global_batch_size)

        def make(batch: Indices) -> tuple[Sending, ...]:
            by_length = batch[np.argsort(part.lengths[batch], kind="stable")]
            return tuple(self._feed.send(self._share(part, draws, samples)) for samples in self.spread.share(by_length))

        yield from _in_order(make, order, reading_threads(self.config.parallel, self.world))

    def _share(self, part: Utterances, draws: Draws, samples: Indices) -> Shares:
        return shares(self._feed.features, train_clips(part, draws, samples), [part.labels(int(i)) for i in samples],
                      dropout_keys(draws, samples), self.config.model.time_stack)


@dataclass
class EvalBatches:
    """Evaluation batches of this rank, by length; all ranks together see every utterance once.

    Iterate after the data door is open. What the network hears never changes, so the batches are kept from the first
    whole pass on where they fit into `cache_bytes`.
    """

    store: Store
    config: RNNTConfig
    seeds: Seeds
    world: World

    def __post_init__(self) -> None:
        self._features = features_of(self.config, self.seeds, self.world)
        self._transfer = Transfer(self.world.device)
        self._kept: list[EvalBatch] | None = None

    def __iter__(self) -> Iterator[EvalBatch]:
        if self._kept is not None:
            yield from self._kept
            return
        made: list[EvalBatch] = []
        size = 0
        with closing(prefetched(self._batches, AHEAD)) as batches:
            for sent, longest, samples in batches:
                *audio, frames_B = self._transfer.receive(sent)
                batch = EvalBatch(self._features(*audio, longest=longest), frames_B, samples)
                size += batch.features_TBF.nbytes
                if size <= self.config.data.cache_bytes:
                    made.append(batch)
                yield batch
        self._kept = made if size <= self.config.data.cache_bytes else None

    def transcripts(self) -> list[str]:
        """What is said in each evaluation utterance. Raises DataProblem where the list has another length."""
        path = self.store.data(TRANSCRIPTS)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataProblem(f"{path} is missing or damaged ({error})",
                              hint="Make the data again: `laptime prepare --force`.") from None
        if len(lines) != self.store.metadata.count("eval_samples"):
            raise DataProblem(f"expected {self.store.metadata.count('eval_samples')} transcripts in {path}, found "
                              f"{len(lines)}", hint="Make the data again: `laptime prepare --force`.")
        return lines

    def _batches(self) -> Iterator[tuple[Sent, int, tuple[int, ...]]]:
        part, draws = Utterances(Shards(self.store, "eval"), self.config.data), Draws.of(self.seeds, "augment", 0)
        own = rank_slice(len(part), self.world.size, self.world.rank)
        own = own[np.argsort(part.lengths[own], kind="stable")]
        for start in range(0, len(own), self.config.data.eval_batch_size):
            samples = own[start:start + self.config.data.eval_batch_size]
            clips = eval_clips(part, draws, samples)
            frames = torch.tensor([spliced_count(length, self.config.data) for length in clips.lengths()])
            yield (self._transfer.send((*self._features.packed(clips), frames)), max(clips.lengths()),
                   tuple(samples.tolist()))


def synthetic_batches(config: RNNTConfig, manifest: Manifest, world: World) -> Iterator[Batch[Micro]]:
    """Training batches of noise without data, for warm-up: the longest utterances that can come, and half as long.

    Before them one of utterances as they come, where the manifest tells (samples, labels) of some, by length, as
    `typical`: what is measured.
    """
    spread, feed = _spread(config, world), Feed(features_of(config, Seeds(0), world), config.model.time_stack)
    longest = (max(config.data.step, manifest.count("longest_train")), manifest.count("longest_labels"))
    typical = np.array(manifest.facts.get("typical", ()), np.int64).reshape(-1, 2)
    sizes = [np.array([(longest[0] // part, max(1, longest[1] // part))] * config.global_batch_size) for part in (1, 2)]
    if len(typical):
        places = (np.arange(config.global_batch_size) + 0.5) * len(typical) / config.global_batch_size
        sizes.insert(0, typical[places.astype(np.int64)])
    for one in sizes:
        shares_of_rank = spread.share(np.arange(config.global_batch_size))
        yield Batch(tuple(feed.receive(feed.send(_synthetic(config, feed.features, one[share], share)))
                          for share in shares_of_rank), config.global_batch_size)


def _synthetic(config: RNNTConfig, features: Features, sizes: Indices, numbers: Indices) -> Shares:
    """sizes: (B, 2) samples and labels of each; numbers: which utterances they stand for."""
    generator, draws, data = Seeds(0).numpy("synthetic"), Draws(0), config.data
    pcm = [generator.integers(-1000, 1000, int(samples), np.int16) for samples in sizes[:, 0]]
    equal = bool((sizes == sizes[0]).all())
    random = data.speed_low + (data.speed_high - data.speed_low) * draws.uniform(numbers, SPEED)
    speed = np.full(len(pcm), data.speed_high) if equal else random
    none = np.zeros(len(pcm), np.int64)
    plain = Clips(pcm, speed if data.augment else np.ones(len(pcm)), none, None)
    frames = np.array([frame_count(length, data) for length in plain.lengths()], np.int64)
    clips = Clips(pcm, plain.speed, none, draw_masks(data, draws, numbers, frames)) if data.augment else plain
    ids = [generator.integers(1, config.model.vocabulary, int(labels)).astype(np.uint16) for labels in sizes[:, 1]]
    return shares(features, clips, ids, dropout_keys(draws, numbers), config.model.time_stack)


def synthetic_eval_batches(config: RNNTConfig, manifest: Manifest, world: World) -> Iterator[EvalBatch]:
    """One evaluation batch of noise as long as the longest utterance, without data, for warm-up."""
    batch = min(config.data.eval_batch_size, -(-config.data.eval_utterances // world.size))
    frames = spliced_count(manifest.count("longest_eval"), config.data)
    shape = (frames, batch, config.data.splice * config.data.mels)
    noise = torch.empty(shape, device="cpu").normal_(generator=Seeds(0).torch("synthetic"))
    yield EvalBatch(noise.to(world.device), torch.full((batch,), frames, device=world.device), ())


def reading_threads(parallel: Parallel, world: World) -> int:
    """Threads that make batches: as configured; else one where the CPU also trains, else this process's cores."""
    if parallel.data_workers >= 0:
        return max(1, parallel.data_workers)
    if world.device.type == "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // world.size)


def _in_order(make: Callable[[Indices], T], batches: Iterable[Indices], threads: int) -> Iterator[T]:
    """What `make` makes of each batch, in order, up to `threads` at a time."""
    if threads == 1:
        yield from map(make, batches)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="speech") as pool:
        running: deque[Future[T]] = deque()
        for batch in batches:
            running.append(pool.submit(make, batch))
            if len(running) == threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _spread(config: RNNTConfig, world: World) -> Spread:
    return Spread(config.global_batch_size, world.size, world.rank, config.parallel.accumulation_steps)
