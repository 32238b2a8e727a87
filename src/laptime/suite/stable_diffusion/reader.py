"""Data of Stable Diffusion: read from shards in batches; one path at all scales.

Training reads an endless stream over shards drawn with replacement (`training/data/resampled.py`), as the reference
does; noise and noise level of a sample follow from (run seed, epoch, place in the stream). Evaluation reads captions.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.errors import DataProblem
from laptime.suite.stable_diffusion.config import StableDiffusionConfig
from laptime.suite.stable_diffusion.published import KEPT_STATISTICS, REMAKE, read_statistics
from laptime.training.data.prefetch import prefetched
from laptime.training.data.resampled import Resampled
from laptime.training.data.sampler import Draws, Indices, Spread, scrambled
from laptime.training.data.shards import Shards
from laptime.training.data.store import Store
from laptime.training.data.transfer import Sent, Transfer
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.metrics.frechet import Gaussian
from laptime.training.seeds import Seeds

AHEAD = 3  # batches made before they are asked for


class Micro(NamedTuple):
    """A micro-batch: moments (N, 2C, h, w) float32, captions (N, L) int64, levels (N,) int64, keys (N,) int32."""

    moments: torch.Tensor
    captions: torch.Tensor
    levels: torch.Tensor
    keys: torch.Tensor


def sample_keys(key: int, positions: Indices) -> NDArray[np.int32]:
    """The keys of samples, from which all their noise follows."""
    mixed = scrambled(positions.astype(np.uint64) ^ scrambled(np.array([key], np.uint64)))
    return (mixed >> np.uint64(32)).astype(np.uint32).view(np.int32)


@dataclass
class TrainBatches:
    """Training batches of this rank: call with a 1-based epoch, after the data door is open.

    An epoch is as many whole global batches as the data set has samples for; a sample may come twice in it or never.
    """

    store: Store
    config: StableDiffusionConfig
    seeds: Seeds
    world: World

    def __post_init__(self) -> None:
        self.spread = spread_of(self.config, self.world)
        self._transfer = Transfer(self.world.device)
        self._shards: Shards | None = None

    def __call__(self, epoch: int) -> Iterator[Batch[Micro]]:
        """One epoch, made ahead in a thread. Raises DataTouchedTooEarly, and DataProblem for damaged data.

        Closing it ends its thread.
        """
        with closing(prefetched(lambda: self._steps(epoch), AHEAD)) as steps:
            for step in steps:
                yield Batch(tuple(Micro(*self._transfer.receive(sent)) for sent in step), self.config.global_batch_size)

    def _open(self) -> Shards:
        if self._shards is None:
            self._shards = Shards(self.store, "train")
        return self._shards

    def _steps(self, epoch: int) -> Iterator[tuple[Sent, ...]]:
        shards, size = self._open(), self.config.global_batch_size
        counts = np.bincount(shards.rows["shard"]).tolist()
        stream = Resampled(counts, self.config.data.shuffle_buffer, self.seeds.numpy("stream", epoch)).batches(size)
        draws, key = Draws.of(self.seeds, "levels", epoch), self.seeds.number("noise", epoch)
        for step in range(self.config.data.train_samples // size):
            samples, positions = next(stream), np.arange(step * size, (step + 1) * size)
            levels = draws.below(positions, 0, np.full(size, self.config.diffusion.steps))
            yield tuple(self._sent(samples[share], levels[share], sample_keys(key, positions[share]))
                        for share in self.spread.share(np.arange(size)))

    def _sent(self, samples: Indices, levels: Indices, keys: NDArray[np.int32]) -> Sent:
        shards = self._open()
        contents = [shards[int(sample)] for sample in samples]
        captions = contents
        if self.config.data.shuffle_captions:
            captions = [shards[(int(sample) + 1) % len(shards)] for sample in samples]
        moments, _ = unpacked(self.config, contents, shards, samples)
        _, numbers = unpacked(self.config, captions, shards, samples)
        return self._transfer.send((torch.from_numpy(moments), torch.from_numpy(numbers.astype(np.int64)),
                                    torch.from_numpy(levels), torch.from_numpy(keys)))


def unpacked(config: StableDiffusionConfig, contents: list[bytes], shards: Shards,
             samples: Indices) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """(moments, captions) of samples as they lie in shards. Raises DataProblem where one has another size."""
    shape = (2 * config.autoencoder.latent, config.latent_side, config.latent_side)
    values, length = int(np.prod(shape)), config.text.length
    for content, sample in zip(contents, samples, strict=True):
        if len(content) != 4 * (values + length):
            raise DataProblem(f"expected {4 * (values + length)} bytes of {shards.where(int(sample))}, "
                              f"found {len(content)}", hint=REMAKE)
    words = np.frombuffer(b"".join(contents), "<i4").reshape(len(contents), values + length)
    return words[:, :values].copy().view("<f4").reshape(-1, *shape), words[:, values:]


@dataclass
class Evaluated:
    """What the evaluation is about: captions of this rank with their numbers, and the statistics of real pictures."""

    store: Store
    config: StableDiffusionConfig
    world: World

    def batches(self) -> Iterator[tuple[Indices, torch.Tensor]]:
        """(numbers of captions, captions (N, L) int64) of this rank; all ranks together see each once."""
        shards, length = Shards(self.store, "eval"), self.config.text.length
        rank, ranks, size = self.world.rank, self.world.size, self.config.sampling.batch_size
        own = np.arange(rank * len(shards) // ranks, (rank + 1) * len(shards) // ranks)
        for start in range(0, len(own), size):
            chosen = own[start:start + size]
            contents = [shards[int(i)] for i in chosen]
            for content, i in zip(contents, chosen, strict=True):
                if len(content) != 4 * length:
                    raise DataProblem(f"expected a caption of {length} numbers at {shards.where(int(i))}, "
                                      f"found {len(content)} bytes", hint=REMAKE)
            numbers = np.frombuffer(b"".join(contents), "<i4").reshape(-1, length)
            yield chosen, torch.from_numpy(numbers.astype(np.int64)).to(self.world.device)

    def real(self) -> Gaussian:
        """Mean and covariance of the features of real pictures. Raises DataProblem."""
        mean, covariance = read_statistics(self.store.data(KEPT_STATISTICS), self.config.data.features, REMAKE)
        device = self.world.device
        return Gaussian(torch.from_numpy(mean).to(device), torch.from_numpy(covariance).to(device))


def synthetic_batches(config: StableDiffusionConfig, world: World, steps: int = 2) -> Iterator[Batch[Micro]]:
    """Training batches of random numbers, for warm-up."""
    spread = spread_of(config, world)
    for step in range(steps):
        parts = tuple(synthetic(config, spread.micro_batch_size, world, seed=step) for _ in range(spread.accumulation))
        yield Batch(parts, config.global_batch_size)


def synthetic(config: StableDiffusionConfig, size: int, world: World, seed: int = 0) -> Micro:
    """A micro-batch of `size` random samples."""
    generator, side = Seeds(seed).torch("synthetic"), config.latent_side
    moments = torch.randn(size, 2 * config.autoencoder.latent, side, side, generator=generator, device="cpu")
    captions = torch.randint(0, config.text.vocabulary, (size, config.text.length), generator=generator, device="cpu")
    levels = torch.randint(0, config.diffusion.steps, (size,), generator=generator, device="cpu")
    keys = torch.from_numpy(sample_keys(seed, np.arange(size)))
    return Micro(*(part.to(world.device) for part in (moments, captions, levels, keys)))


def spread_of(config: StableDiffusionConfig, world: World) -> Spread:
    return Spread(config.global_batch_size, world.size, world.rank, config.parallel.accumulation_steps)
