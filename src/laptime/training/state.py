"""The state of a session: everything that a step can change, hashed, copied, restored in place, saved and loaded.

Once, for all benchmarks: the warm-up check, equivalence tests, checkpoints and resume use this module.
"""

import hashlib
import pickle
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from laptime.errors import DataProblem
from laptime.training.distributed.exchange import kept_local
from laptime.training.distributed.pieces import local as here


@runtime_checkable
class Counter(Protocol):
    """A host-side number that steps change (a data position, a step count)."""

    value: int


@dataclass
class Count:
    """The plainest `Counter`."""

    value: int = 0


@dataclass(frozen=True)
class State:
    """Live objects by name, not copies: `tensors` on any device, torch `generators`, `counters` that hold ints.

    Where tensors are divided among processes, each has, hashes and restores its own parts. `own`: names of tensors that
    may differ between processes that are copies of each other (buffers, and what `exchange.keep_local` named).
    `frozen`: weights that no step changes: they take memory, and are neither copied nor hashed nor restored.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    generators: dict[str, torch.Generator] = field(default_factory=dict)
    counters: dict[str, Counter] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    frozen: dict[str, torch.Tensor] = field(default_factory=dict)

    def copy(self) -> "Saved":
        """Values of everything, on the same devices."""
        return Saved({name: tensor.detach().clone() for name, tensor in self.tensors.items()},
                     {name: generator.get_state() for name, generator in self.generators.items()},
                     {name: counter.value for name, counter in self.counters.items()})

    @torch.no_grad()
    def restore(self, saved: "Saved") -> None:
        """Write `saved` back in place: no tensor is replaced, so compiled graphs stay valid."""
        for name, tensor in self.tensors.items():
            tensor.copy_(saved.tensors[name])
        for name, generator in self.generators.items():
            generator.set_state(saved.generators[name])
        for name, counter in self.counters.items():
            counter.value = saved.counters[name]

    def fingerprint(self) -> str:
        """A hash of every bit of every entry; equal states have equal fingerprints."""
        digest = hashlib.blake2b(digest_size=16)
        for part in self._parts():
            digest.update(part)
        return digest.hexdigest()

    def difference(self, saved: "Saved") -> list[str]:
        """Names of the entries that are not bit for bit as in `saved`."""
        changed = [n for n, t in self.tensors.items() if not _same_bits(t, saved.tensors[n])]
        changed += [n for n, g in self.generators.items() if not torch.equal(g.get_state(), saved.generators[n])]
        return changed + [n for n, c in self.counters.items() if c.value != saved.counters[n]]

    def _parts(self) -> Iterator[bytes]:
        for name, tensor in sorted(self.tensors.items()):
            yield f"{name}{tuple(here(tensor).shape)}{tensor.dtype}".encode()
            yield _bits(tensor).cpu().numpy().tobytes()
        for name, generator in sorted(self.generators.items()):
            yield name.encode() + generator.get_state().numpy().tobytes()
        for name, counter in sorted(self.counters.items()):
            yield f"{name}={counter.value}".encode()


@dataclass(frozen=True)
class Saved:
    """Values of a `State` at one moment."""

    tensors: dict[str, torch.Tensor]
    generators: dict[str, torch.Tensor]
    counters: dict[str, int]

    def save(self, path: Path) -> None:
        torch.save({"tensors": self.tensors, "generators": self.generators, "counters": self.counters}, path)

    @classmethod
    def load(cls, path: Path) -> "Saved":
        """Raises DataProblem when `path` is not such a file. Nothing in it is executed."""
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            return cls(content["tensors"], content["generators"], content["counters"])
        except (OSError, RuntimeError, LookupError, TypeError, ValueError, EOFError, AttributeError,
                pickle.UnpicklingError, struct.error) as error:
            raise DataProblem(f"expected a saved state at {path}, found other ({type(error).__name__})") from error


def state_of(*, modules: dict[str, torch.nn.Module], optimizers: dict[str, torch.optim.Optimizer],
             generators: dict[str, torch.Generator] | None = None,
             counters: dict[str, Counter] | None = None, frozen: Collection[str] = ()) -> State:
    """The state of modules (parameters and buffers) and optimizers (state tensors and tensor hyperparameters).

    frozen: names (module.parameter) of weights that no step changes.
    """
    tensors: dict[str, torch.Tensor] = {}
    own: set[str] = set()
    for name, module in modules.items():
        tensors |= {f"{name}.{key}": value for key, value in module.named_parameters()}
        tensors |= {f"{name}.{key}": value for key, value in module.named_buffers()}
        own |= {f"{name}.{key}" for key, _ in module.named_buffers()} | {f"{name}.{key}" for key in kept_local(module)}
    local = {id(tensors[name]) for name in own if name in tensors}
    for name, optimizer in optimizers.items():
        tensors |= dict(_optimizer_tensors(name, optimizer))
        own |= {key for key, parameter in _parameters_of(name, optimizer) if id(parameter) in local}
    still = {name: tensors.pop(name) for name in frozen}
    return State(tensors, generators or {}, counters or {}, frozenset(own), still)


def _parameters_of(name: str, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    """Names of state tensors, and the parameter each belongs to."""
    for g, group in enumerate(optimizer.param_groups):
        for p, parameter in enumerate(group["params"]):
            yield from ((f"{name}.group{g}.param{p}.{key}", parameter) for key in optimizer.state[parameter])


def _optimizer_tensors(name: str, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    for g, group in enumerate(optimizer.param_groups):
        for key, value in group.items():
            if isinstance(value, torch.Tensor):
                yield f"{name}.group{g}.{key}", value
        for p, parameter in enumerate(group["params"]):
            for key, value in optimizer.state[parameter].items():
                if isinstance(value, torch.Tensor):
                    yield f"{name}.group{g}.param{p}.{key}", value


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return here(tensor).detach().contiguous().reshape(-1).view(torch.uint8)


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(torch.equal(_bits(one), _bits(other)))
