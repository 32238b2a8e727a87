"""A decoder of a few thousand parameters that uses everything a layout can say, and sessions of it.

Grouped heads, a fused projection, biases, learned positions; `tied`: the head has the embedding's weights.
"""

from dataclasses import dataclass, field

import torch
from torch.nn import functional as F

from laptime.config import Parallel, Speed
from laptime.events import Cadence, Plan, Point
from laptime.training.distributed.context import own_positions
from laptime.training.distributed.layout import Layout, Split
from laptime.training.distributed.parallelize import parallelize
from laptime.training.distributed.pieces import write
from laptime.training.distributed.vocabulary import cross_entropy
from laptime.training.loop import Batch, Supervised
from laptime.training.nn.causal_attention import CausalAttention
from laptime.training.nn.float8 import Linear
from laptime.training.optim.adam import Adam
from laptime.training.optim.clip import NormClip
from laptime.training.optim.lamb import LAMB
from laptime.training.seeds import Seeds
from laptime.training.speed import Precision


@dataclass(frozen=True)
class Config:
    global_batch_size: int = 8
    layers: int = 4
    width: int = 16
    heads: int = 4
    groups: int = 2
    words: int = 24
    length: int = 16
    tied: bool = True
    optimizer: str = "lamb"
    meta: bool = True
    parallel: Parallel = field(default_factory=Parallel)
    speed: Speed = field(default_factory=lambda: Speed(dtype="float64"))


class Attention(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.groups = config.heads, config.groups
        each = config.width // config.heads
        self.query = Linear(config.width, config.width)
        self.both = Linear(config.width, 2 * config.groups * each)
        self.output = Linear(config.width, config.width)
        self.attend = CausalAttention()

    def forward(self, x):
        batch, length, _ = x.shape
        q = self.query(x).view(batch, length, self.heads, -1).transpose(1, 2)
        k, v = self.both(x).view(batch, length, 2, self.groups, -1).permute(2, 0, 3, 1, 4)
        return self.output(self.attend(q, k, v).transpose(1, 2).reshape(batch, length, -1))


class Block(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.norm1, self.norm2 = (torch.nn.LayerNorm(config.width) for _ in range(2))
        self.attention = Attention(config)
        self.mlp = torch.nn.Sequential(Linear(config.width, 3 * config.width), torch.nn.GELU(),
                                       Linear(3 * config.width, config.width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Embedding(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.words = torch.nn.Embedding(config.words, config.width)
        self.positions = torch.nn.Embedding(config.length, config.width)

    def forward(self, words, positions):
        return self.words(words) + self.positions(positions)


class Head(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = None if config.tied else torch.nn.Parameter(torch.empty(config.words, config.width))

    def forward(self, x, weight):
        return F.linear(x, weight if self.weight is None else self.weight)


class Decoder(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embedding = Embedding(config)
        self.blocks = torch.nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = torch.nn.LayerNorm(config.width)
        self.head = Head(config)

    def forward(self, words, positions):
        x = self.embedding(words, positions)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x), self.embedding.words.weight)


def layout(config):
    splits = (Split("embedding.words", "vocabulary"),
              Split("blocks.*.attention", "enter", counts=("heads", "groups")),
              Split("blocks.*.attention.query", "columns"), Split("blocks.*.attention.both", "columns", parts=2),
              Split("blocks.*.attention.output", "rows"), Split("blocks.*.mlp", "enter"),
              Split("blocks.*.mlp.0", "columns"), Split("blocks.*.mlp.2", "rows"),
              Split("blocks.*.norm1", "sequence"), Split("blocks.*.norm2", "sequence"), Split("norm", "sequence"),
              Split("head", "enter"), Split("head", "columns"))
    return Layout(embedding="embedding", blocks=tuple(f"blocks.{i}" for i in range(config.layers)), splits=splits,
                  shared=("embedding.words.weight",) if config.tied else (), length=config.length,
                  divisible={"heads": config.heads, "groups": config.groups, "words": config.words})


def initialise(model, seeds):
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            continue
        shape = whole_shapes(model)[name]
        write(parameter, torch.randn(shape, generator=seeds.torch(f"init {name}")) * 0.3)


def whole_shapes(model):
    return {name: tuple(parameter.shape) for name, parameter in Decoder(model.config).named_parameters()}


class Counted:
    """The mean loss of two fixed evaluation batches."""

    def __init__(self, session_engine, loss, batches):
        self.engine, self.loss, self.batches = session_engine, loss, batches

    def __call__(self):
        total, count = self.engine.sums(self.statistics, self.batches()).tolist()
        return {"loss": total / count}

    def statistics(self, model, micro):
        losses = self.loss.each(model, micro)
        return torch.stack([losses.sum(), torch.full((), losses.numel(), dtype=losses.dtype)])

    def warm_up(self):
        self()


class Loss:
    def __init__(self, config, world):
        self.span = config.global_batch_size * config.length
        self.positions, self.world = own_positions(config.length, world.context), world

    def each(self, model, micro):
        logits = model(micro[:, :-1][:, self.positions], self.positions)
        return cross_entropy(logits, micro[:, 1:][:, self.positions], self.world.tensor)

    def __call__(self, model, micro):
        return self.each(model, micro).sum() / self.span


class Nothing:
    def apply(self, step):
        pass


def batches(config, world, *, first=0, steps=None, parts=None):
    """Global batches of random words, the same in every world, and this data process's share of them."""
    parts, data, step = parts or config.parallel.accumulation_steps, world.data, first
    while steps is None or step < first + steps:
        words = torch.randint(config.words, (config.global_batch_size, config.length + 1),
                              generator=Seeds(3).torch("words", step))
        own = words.view(parts, data.size, -1, config.length + 1)[:, data.rank]
        yield Batch(tuple(own), config.global_batch_size)
        step += 1


def session(config, world, seed=5):
    if config.meta:
        with torch.device("meta"):
            model = Decoder(config)
    else:
        model = Decoder(config)
    model.config = config
    dtype = Precision.of(config.speed).parameters
    if not config.meta:
        initialise(model, Seeds(seed))
    engine = parallelize(model, layout(config), config.parallel, world, dtype=dtype)
    if config.meta:
        initialise(model, Seeds(seed))
    loss = Loss(config, world)
    kinds = {"lamb": lambda: LAMB(model.parameters(), learning_rate=0.02),
             "adam": lambda: Adam(model.parameters(), learning_rate=0.01)}
    evaluation = Counted(engine, loss, lambda: (b.micro[0] for b in batches(config, world, first=900, steps=2, parts=1)))
    return Supervised(
        world=world, plan=Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,))),
        speed=config.speed, model=model, loss=loss, optimizer=kinds[config.optimizer](), schedule=Nothing(),
        batches=lambda epoch: batches(config, world, first=100 * epoch, steps=6), evaluation=evaluation,
        synthetic=lambda: batches(config, world, steps=1), hyperparameters={}, initialised=(), engine=engine,
        after_backward=NormClip(model.parameters(), 0.5), progress_every=1)
