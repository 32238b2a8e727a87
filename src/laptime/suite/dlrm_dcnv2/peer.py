"""What `laptime bench` measures of this benchmark, and the independent implementation beside it.

The peer is the usual way to write this network in plain PyTorch: one EmbeddingBag per table with sparse or dense
gradients, perceptrons and cross layers of Linear modules, torch's own Adagrad (fused for dense gradients, where it can
be), eager and compiled. Everything is float32, as ours is.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from torch.nn import functional as F

from laptime.config import Json, override
from laptime.errors import UserError
from laptime.suite.dlrm_dcnv2.config import DLRMConfig, ModelConfig, full, mini
from laptime.suite.dlrm_dcnv2.data import synthetic_batches
from laptime.suite.dlrm_dcnv2.published import facts as counts
from laptime.training.distributed.world import World
from laptime.training.nn.embedding_tables import starts_of
from laptime.training.speed import apply_tf32, can_compile, resolve

Step = Callable[[], None]
WIDE = {"cuda": (16384, 2_000_000)}  # batch and most rows of a table that one accelerator holds
SMALL = (256, 20_000)  # a step then takes a second on two CPU cores


def wide_case(device: torch.device) -> DLRMConfig:
    """Every width and bag of the full network; tables cut to what one device holds."""
    batch, most = WIDE.get(device.type, SMALL)
    config = full()
    return replace(config, global_batch_size=batch,
                   model=replace(config.model, rows=tuple(min(rows, most) for rows in config.model.rows)))


def mini_case(device: torch.device) -> DLRMConfig:
    """As it is run."""
    return mini()


def facts(config: DLRMConfig) -> Mapping[str, Json]:
    """What the manifest of this configuration's data says."""
    return counts(config)


def mini_feed(samples: int) -> DLRMConfig:
    """The generated clicks of mini."""
    wanted = max(mini().global_batch_size, samples)
    return override(mini(), [f"data.train_samples={wanted}", "data.eval_samples=10"])


class Plain(torch.nn.Module):
    """DLRM-DCNv2 of torch's own modules."""

    def __init__(self, config: ModelConfig, *, sparse: bool) -> None:
        super().__init__()
        columns = (len(config.rows) + 1) * config.width
        self.bags = torch.nn.ModuleList(torch.nn.EmbeddingBag(rows, config.width, mode="sum", sparse=sparse)
                                        for rows in config.rows)
        self.bottom = _perceptron([config.dense_features, *config.bottom])
        self.top = _perceptron([columns, *config.top, 1])[:-1]
        self.v = torch.nn.ModuleList(torch.nn.Linear(columns, config.cross_rank, bias=False)
                                     for _ in range(config.cross_layers))
        self.w = torch.nn.ModuleList(torch.nn.Linear(config.cross_rank, columns) for _ in range(config.cross_layers))

    def forward(self, dense: torch.Tensor, ids: list[torch.Tensor]) -> torch.Tensor:
        first = torch.cat([self.bottom(dense), *(bag(one) for bag, one in zip(self.bags, ids, strict=True))], dim=1)
        x = first
        for v, w in zip(self.v, self.w, strict=True):
            x = first * w(v(x)) + x
        return self.top(x).squeeze(1)


def _perceptron(sizes: list[int]) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for low, high in pairwise(sizes):
        layers += [torch.nn.Linear(low, high), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers)


def peer(config: DLRMConfig, device: torch.device, *, compiled: bool, sparse: bool) -> Step:
    """One whole training step on a batch that stays. Raises UserError without a C compiler."""
    if compiled and not can_compile():
        raise UserError("no C compiler found: the compiled peer is left out")
    apply_tf32(resolve(config.speed, device))
    with torch.device(device):
        model = Plain(config.model, sparse=sparse)
    dense = [parameter for name, parameter in model.named_parameters() if not (sparse and name.startswith("bags."))]
    rate = config.optimizer.base_learning_rate
    optimizers = [torch.optim.Adagrad(dense, lr=rate, eps=config.optimizer.epsilon, fused=device.type == "cpu")]
    if sparse:
        optimizers.append(torch.optim.Adagrad(model.bags.parameters(), lr=rate, eps=config.optimizer.epsilon))
    micro = next(synthetic_batches(config, World(0, 1, device))).micro[0]
    parts = micro.lookups.flat_NL.split(list(config.model.bags), dim=1)
    ids = [part - start for part, start in zip(parts, starts_of(config.model.rows), strict=True)]

    def loss() -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(model(micro.dense, ids), micro.labels)

    forward = torch.compile(loss, dynamic=False) if compiled else loss

    def step() -> None:
        forward().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return step


CASES: Mapping[str, Callable[[torch.device], DLRMConfig]] = {"mini": mini_case, "full width, smaller tables": wide_case}
FACTS = facts
PEERS: Mapping[str, Callable[[DLRMConfig, torch.device], Step]] = {
    "plain EmbeddingBag, eager, dense gradients": partial(peer, compiled=False, sparse=False),
    "plain EmbeddingBag, eager, sparse gradients": partial(peer, compiled=False, sparse=True),
    "plain EmbeddingBag, compiled, dense gradients": partial(peer, compiled=True, sparse=False)}
FEEDS: Mapping[str, Callable[[int], DLRMConfig]] = {"mini clicks": mini_feed}
