"""DLRM-DCNv2: dense features and summed embeddings, crossed by a low-rank network, judged by a perceptron.

Sources: Naumov et al. 2019 (DLRM); Wang et al. 2021, section 3 (DCN v2, low-rank cross layers); reference of the suite
(recommendation_v2). Legend: N samples, F dense features, T tables, D width; x has (T + 1) D columns.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch.nn import functional as F

from laptime.suite.dlrm_dcnv2.config import ModelConfig
from laptime.suite.dlrm_dcnv2.cross import crossed
from laptime.training.distributed.exchange import keep_local
from laptime.training.distributed.world import World
from laptime.training.nn.embedding_tables import EmbeddingTables, Holding, Lookups
from laptime.training.nn.kept_gradients import Linear
from laptime.training.seeds import Seeds


class LowRankCross(torch.nn.Module):
    """x_{l+1} = x_0 * (W_l V_l x_l + b_l) + x_l, with W_l V_l of a small rank (Wang et al. 2021, equation 2)."""

    def __init__(self, columns: int, rank: int, layers: int) -> None:
        super().__init__()
        self.v = torch.nn.ModuleList(torch.nn.Linear(columns, rank, bias=False) for _ in range(layers))
        self.w = torch.nn.ModuleList(torch.nn.Linear(rank, columns) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._whole(x):
            return crossed(x, *([one.get_parameter(name) for one in layers] for layers, name in (
                (self.v, "weight"), (self.w, "weight"), (self.w, "bias"))))
        first = x
        for v, w in zip(self.v, self.w, strict=True):
            x = torch.addcmul(x, first, w(v(x)))
        return x

    def _whole(self, x: torch.Tensor) -> bool:
        """Whether to compute all layers as one: a compiler does as well by itself, and autocast needs torch's own."""
        plain = torch.compiler.is_compiling() or x.is_meta or torch.is_autocast_enabled(x.device.type)
        return len(self.v) > 0 and not plain


class DLRM(torch.nn.Module):
    """The network; weights as torch makes them until `initialise`. Tables are split over `world`, the rest is not:
    whole tables, or the rows of every table (`held`)."""

    def __init__(self, config: ModelConfig, world: World, held: Holding = "whole") -> None:
        super().__init__()
        columns = (len(config.rows) + 1) * config.width
        self.bottom = _layers([config.dense_features, *config.bottom])
        self.tables = EmbeddingTables(config.rows, config.bags, config.width, world, held)
        self.cross = LowRankCross(columns, config.cross_rank, config.cross_layers)
        self.top = _layers([columns, *config.top, 1])
        self.tables.requires_grad_(config.tables_learn)
        keep_local(self, "tables")

    def forward(self, dense_NF: torch.Tensor, lookups: Lookups) -> torch.Tensor:
        """Logits (N)."""
        sums_NTD = self.tables(lookups)
        y = dense_NF
        for layer in self.bottom:
            y = F.relu(layer(y))
        x = self.cross(torch.cat([y, sums_NTD.flatten(1)], dim=1))
        for layer in self.top[:-1]:
            x = F.relu(layer(x))
        return self.top[-1](x)[:, 0]


@torch.no_grad()
def initialise(model: DLRM, seeds: Seeds) -> None:
    """Tables uniform in +-1/sqrt(rows); cross weights normal with variance 2 / (fan in + fan out), their biases 0;
    perceptrons uniform in +-1/sqrt(fan in), biases too (torch's own default). Drawn on the CPU in float32.
    """
    model.tables.draw(lambda table: seeds.torch("table", table))
    generator = seeds.torch("init")
    for layer in (*model.cross.v, *model.cross.w):
        std = (2.0 / (layer.in_features + layer.out_features)) ** 0.5
        layer.weight.copy_(_empty(layer.weight).normal_(0.0, std, generator=generator))
        if layer.bias is not None:
            layer.bias.zero_()
    for layer in (*model.bottom, *model.top):
        bound = layer.in_features**-0.5
        for tensor in (layer.weight, layer.bias):
            tensor.copy_(_empty(tensor).uniform_(-bound, bound, generator=generator))


def _empty(like: torch.Tensor) -> torch.Tensor:
    return torch.empty(like.shape, dtype=torch.float32, device="cpu")


def _layers(sizes: Sequence[int]) -> torch.nn.ModuleList:
    return torch.nn.ModuleList(Linear(low, high) for low, high in pairwise(sizes))
