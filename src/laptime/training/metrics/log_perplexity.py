"""Log perplexity of a language model: the mean cross entropy (nats) of what follows each token; and the training loss.

Sums of losses and counts of labels add up over micro-batches and processes, so every token weighs the same.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from laptime.training.data.token_batches import Micro
from laptime.training.distributed.context import own_positions
from laptime.training.distributed.engine import Engine
from laptime.training.distributed.vocabulary import cross_entropy
from laptime.training.distributed.world import World
from laptime.training.speed import Precision


def token_losses(model: torch.nn.Module, micro: Micro, world: World) -> tuple[torch.Tensor, torch.Tensor]:
    """(losses, labels) at this process's places, each (B, own L); 0.0 where a place has no label.

    model: (ids, places) -> logits, of this process's part of the vocabulary.
    """
    positions = own_positions(micro.tokens.shape[1], world.context)
    tokens, labels = micro.tokens[:, positions], micro.labels[:, positions]
    return cross_entropy(model(tokens, positions), labels, world.tensor), labels


@dataclass(frozen=True)
class MeanTokenLoss:
    """The training loss: the mean over the `tokens` labels of a global batch; shares of micro-batches add up to it."""

    tokens: int
    world: World

    def __call__(self, model: torch.nn.Module, micro: Micro) -> torch.Tensor:
        losses, _ = token_losses(model, micro, self.world)
        return losses.sum() / self.tokens


@dataclass
class LogPerplexity:
    """The mean loss over all evaluation tokens (`loop.Evaluation`), as `eval_accuracy`."""

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
        """(2) float64: sum of losses, number of labels."""
        with torch.autocast(self.world.device.type, dtype=self.precision.autocast,
                            enabled=self.precision.autocast is not None):
            losses, labels = token_losses(model, micro, self.world)
        return torch.stack([losses.double().sum(), (labels >= 0).double().sum()])
