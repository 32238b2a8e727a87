"""How a step's gradients and an evaluation's sums come about, for each way to spread a model (`parallelize` chooses).

Every engine averages gradients over replicas and scales the loss by their number, so that what counts is the sum.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import torch
from torch.distributed.fsdp import FSDPModule

from laptime.training.distributed.pieces import local
from laptime.training.distributed.pipeline import Arrival, Left, Line, kind_of, tasks
from laptime.training.distributed.replicate import gradient_exchange, replicate
from laptime.training.distributed.world import World

M = TypeVar("M")

Function = Callable[[torch.nn.Module, M], torch.Tensor]


class Engine(Protocol):
    """`whole`: the loss can be compiled as one graph (nothing but the model's own calls happens in it)."""

    whole: bool

    def gradients(self, loss: Function[M], micros: Sequence[M]) -> torch.Tensor:
        """Forward and backward of one step; returns this replica's share of the loss, detached, equal on all processes
        of the replica."""

    def sums(self, function: Function[M], micros: Iterable[M]) -> torch.Tensor:
        """function(model, micro-batch), 1-D, in float64 summed over micro-batches and replicas, equal on every process.

        Every replica must bring equally many micro-batches, at least one.
        """


class Replicas:
    """The whole depth on every process: copied, sharded or split by layers. `partial`: parameters whose gradients are
    summed over the tensor world."""

    def __init__(self, model: torch.nn.Module, world: World, partial: Sequence[torch.nn.Parameter] = ()) -> None:
        self.world, self.partial = world, partial
        sharded = isinstance(model, FSDPModule)
        self.model = model if sharded or world.device.type == "meta" else replicate(model, world.replicas)
        self.whole = not sharded and world.parts is None

    def gradients(self, loss: Function[M], micros: Sequence[M]) -> torch.Tensor:
        total = None
        for i, micro in enumerate(micros):
            with gradient_exchange(self.model, exchange=i == len(micros) - 1):
                share = loss(self.model, micro)
                (share * self.world.replicas.size).backward()
            total = share.detach() if total is None else total + share.detach()
        sum_partial(self.partial, self.world.tensor)
        assert total is not None
        return total

    @torch.no_grad()
    def sums(self, function: Function[M], micros: Iterable[M]) -> torch.Tensor:
        total = added(function(self.model, micro) for micro in micros)
        release(self.model)
        return self.world.replicas.sum(total)


class Stages:
    """A pipeline: this process has one stage of the model."""

    whole = False

    def __init__(self, model: torch.nn.Module, world: World, arrival: Arrival, *, schedule: str,
                 partial: Sequence[torch.nn.Parameter] = (), shared: Sequence[torch.nn.Parameter] = ()) -> None:
        assert world.parts is not None
        self.model, self.world, self.arrival, self.schedule = model, world, arrival, schedule
        self.partial, self.shared = partial, shared
        self.stage, self.stages = world.pipeline.rank, world.pipeline.size
        self.first, self.last = self.stage == 0, self.stage == self.stages - 1
        self._down, self._up = Line(world.pipeline, 1), Line(world.parts.backwards, -1)

    def __call__(self, *arguments: object, **settings: object) -> torch.Tensor:
        """In place of the model, for losses: only the last stage comes to an end."""
        y = self.model(*arguments, **settings)
        if self.last:
            return y
        raise Left(y)

    def gradients(self, loss: Function[M], micros: Sequence[M]) -> torch.Tensor:
        waiting: dict[int, tuple[torch.Tensor | None, torch.Tensor]] = {}
        total = torch.zeros((), device=self.world.device, dtype=torch.float64)
        for task, i in tasks(self.schedule, self.stage, self.stages, len(micros)):
            if task == "forward":
                waiting[i] = self._forward(loss, micros[i])
                total += waiting[i][1].detach().double() if self.last else 0.0
            else:
                self._backward(*waiting.pop(i), kind_of(micros[i]), final=i == len(micros) - 1)
        self._down.finish()
        self._up.finish()
        self._combine()
        return self.world.pipeline.broadcast(total, self.stages - 1)

    @torch.no_grad()
    def sums(self, function: Function[M], micros: Iterable[M]) -> torch.Tensor:
        values = (self._forward(function, micro)[1] for micro in micros)
        total = added(values if self.last else (value.new_zeros(1) for value in values))
        self._down.finish()
        release(self.model)
        entries = self.world.pipeline.sum(torch.tensor(len(total) if self.last else 0, device=self.world.device))
        total = total if self.last else total.new_zeros(int(entries))
        return self.world.pipeline.sum(self.world.replicas.sum(total))

    def _forward(self, function: Function[M], micro: M) -> tuple[torch.Tensor | None, torch.Tensor]:
        """(what arrived, what leaves: x, or on the last stage the function's value)."""
        kind, arrived = kind_of(micro), None
        if not self.first:
            self.arrival.x = arrived = self._down.receive(kind).requires_grad_(torch.is_grad_enabled())
        try:
            leaving = function(self, micro)  # type: ignore[arg-type]
        except Left as left:
            leaving = left.x
            self._down.send(leaving, kind)
        return arrived, leaving

    def _backward(self, arrived: torch.Tensor | None, leaving: torch.Tensor, kind: object, *, final: bool) -> None:
        if isinstance(self.model, FSDPModule):
            self.model.set_is_last_backward(final)
            self.model.set_requires_gradient_sync(final)
            self.model.set_reshard_after_backward(final)
        if self.last:
            (leaving * self.world.replicas.size).backward()
        else:
            leaving.backward(self._up.receive(kind))
        if arrived is not None:
            assert arrived.grad is not None
            self._up.send(arrived.grad, kind)

    def _combine(self) -> None:
        """Gradients over the processes that hold the same, once per step."""
        if not isinstance(self.model, FSDPModule):
            average([one for one in self.model.parameters() if one.requires_grad], self.world.replicas)
        sum_partial(self.partial, self.world.tensor)
        assert self.world.parts is not None
        for one in self.shared:
            assert one.grad is not None
            self.world.parts.ends.sum(local(one.grad))


def release(model: torch.nn.Module) -> None:
    """Let go of the whole weights that a pass without a backward pass left behind; the shards may change now."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def added(values: Iterable[torch.Tensor]) -> torch.Tensor:
    """The sum in float64."""
    total = None
    for one in values:
        total = one.double() if total is None else total + one.double()
    assert total is not None
    return total


def sum_partial(parameters: Sequence[torch.nn.Parameter], world: World) -> None:
    """Sum the gradients of `parameters` over `world`, in place."""
    for one in parameters:
        if one.grad is not None:
            world.sum(local(one.grad))


def average(parameters: Sequence[torch.nn.Parameter], world: World) -> None:
    """Gradients averaged over `world`, in one message."""
    found = [one.grad for one in parameters if one.grad is not None]
    if world.size == 1 or not found:
        return
    together = world.sum(torch.cat([one.reshape(-1) for one in found])) / world.size
    for one, mean in zip(found, together.split([one.numel() for one in found]), strict=True):
        one.copy_(mean.view_as(one))
