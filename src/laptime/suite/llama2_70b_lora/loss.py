"""The loss of a sample: mean cross entropy (nats) over its places that count; of many samples: the mean of these means.

The reference's loss and metric take one sample at a time, so every sample weighs the same, however few of its places
count (its summaries, in evaluation).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from laptime.suite.llama2_70b_lora.data import Micro
from laptime.training.distributed.context import own_positions
from laptime.training.distributed.engine import Engine
from laptime.training.distributed.vocabulary import cross_entropy
from laptime.training.distributed.world import World
from laptime.training.speed import Precision


def sample_losses(model: torch.nn.Module, micro: Micro, world: World) -> torch.Tensor:
    """(B): each sample's mean loss, as far as this process has its places; 0.0 where none counts.

    model: (ids, places, keys) -> logits, of this process's part of the vocabulary.
    """
    places = own_positions(micro.tokens.shape[1], world.context)
    logits = model(micro.tokens[:, places], places, micro.keys[:, places])
    losses = cross_entropy(logits, micro.labels[:, places], world.tensor)
    return losses.sum(1) / (micro.labels >= 0).sum(1).clamp(min=1)


@dataclass(frozen=True)
class MeanSampleLoss:
    """The training loss: the mean over the `samples` of a global batch; shares of micro-batches add up to it."""

    samples: int
    world: World

    def __call__(self, model: torch.nn.Module, micro: Micro) -> torch.Tensor:
        return sample_losses(model, micro, self.world).sum() / self.samples


@dataclass
class EvalLoss:
    """The mean over all evaluation samples (`loop.Evaluation`), as `eval_accuracy`."""

    engine: Engine
    model: torch.nn.Module
    batches: Iterable[Micro]
    synthetic: Callable[[], Micro]
    world: World
    precision: Precision

    def __call__(self) -> Mapping[str, float]:
        return {"eval_accuracy": self._mean(self.batches)}

    def warm_up(self) -> None:
        self._mean([self.synthetic()])

    def _mean(self, micros: Iterable[Micro]) -> float:
        self.model.eval()
        total, count = self.engine.sums(self._sums, micros).tolist()
        self.model.train()
        return float(total / count)

    def _sums(self, model: torch.nn.Module, micro: Micro) -> torch.Tensor:
        """(2) float64: sum of samples' losses, number of samples that this process stands for.

        Places of a sample may lie on several processes; each stands for an equal share of it.
        """
        with torch.autocast(self.world.device.type, dtype=self.precision.autocast,
                            enabled=self.precision.autocast is not None):
            losses = sample_losses(model, micro, self.world)
        counted = (micro.labels >= 0).any(1).double().sum() / self.world.context.size
        return torch.stack([losses.double().sum(), counted])
