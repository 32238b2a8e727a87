"""The state of a session: everything that a step can change, hashed, copied, restored in place, saved and loaded.

Once, for all benchmarks: the warm-up check, equivalence tests, checkpoints and resume use this module.

Before a warm-up everything is copied, but for tables too big for that: of them only the rows that warm-up changes are
put aside, and a checksum of 64 bits over the whole table shows afterwards that the others are as they were. A change of
one number, or within one word of eight bytes, is seen for certain; changes of several words would have to cancel out,
a coincidence of about one in 2^32. Files hold everything.
"""

import hashlib
import pickle
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch.nn import functional as F

from laptime.errors import DataProblem
from laptime.training.distributed.exchange import kept_local
from laptime.training.distributed.pieces import local as here

COPIED_BYTES = 1 << 30  # a table of fewer is copied like everything else: about 1 % of an accelerator's memory
CHUNK_WORDS = 1 << 17  # of 8 bytes: what a checksum takes in at once; a few times this is the memory it needs
MULTIPLIER = 0x5851F42D4C957F2D  # odd, mixes well (Knuth, MMIX)

Rows = Callable[[], torch.Tensor]  # distinct row numbers, on the table's device


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
    `touched`: tables too big to copy: which rows of it (distinct, on its device) change before the clock starts.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    generators: dict[str, torch.Generator] = field(default_factory=dict)
    counters: dict[str, Counter] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    frozen: dict[str, torch.Tensor] = field(default_factory=dict)
    touched: dict[str, Rows] = field(default_factory=dict)

    def copy(self) -> "Saved":
        """Values of everything, on the same devices."""
        return self._saved({})

    def aside(self) -> "Saved":
        """Values that undo a warm-up: of everything, but of big tables of the rows that it touches."""
        return self._saved({name: Part.of(self.tensors[name], rows()) for name, rows in self.touched.items()})

    def _saved(self, parts: "dict[str, Part]") -> "Saved":
        return Saved({name: tensor.detach().clone() for name, tensor in self.tensors.items() if name not in parts},
                     {name: generator.get_state() for name, generator in self.generators.items()},
                     {name: counter.value for name, counter in self.counters.items()}, parts)

    @torch.no_grad()
    def restore(self, saved: "Saved") -> None:
        """Write `saved` back in place: no tensor is replaced, so compiled graphs stay valid."""
        for name, tensor in self.tensors.items():
            if name in saved.parts:
                saved.parts[name].restore(tensor)
            else:
                tensor.copy_(saved.tensors[name])
        for name, generator in self.generators.items():
            generator.set_state(saved.generators[name])
        for name, counter in self.counters.items():
            counter.value = saved.counters[name]

    def fingerprint(self) -> str:
        """A hash of every bit of every entry, of big tables by checksum; equal states have equal fingerprints."""
        digest = hashlib.blake2b(digest_size=16)
        for part in self._parts():
            digest.update(part)
        return digest.hexdigest()

    def difference(self, saved: "Saved") -> list[str]:
        """Names of the entries that are not bit for bit as in `saved`."""
        changed = [n for n, t in self.tensors.items() if not saved.equals(n, t)]
        changed += [n for n, g in self.generators.items() if not torch.equal(g.get_state(), saved.generators[n])]
        return changed + [n for n, c in self.counters.items() if c.value != saved.counters[n]]

    def _parts(self) -> Iterator[bytes]:
        for name, tensor in sorted(self.tensors.items()):
            yield f"{name}{tuple(here(tensor).shape)}{tensor.dtype}".encode()
            yield struct.pack("<q", checksum(tensor)) if name in self.touched else _bits(tensor).cpu().numpy().tobytes()
        for name, generator in sorted(self.generators.items()):
            yield name.encode() + generator.get_state().numpy().tobytes()
        for name, counter in sorted(self.counters.items()):
            yield f"{name}={counter.value}".encode()


@dataclass(frozen=True)
class Part:
    """Some rows (distinct) of a table and their values; `checksum`: of the whole table."""

    rows: torch.Tensor
    values: torch.Tensor
    checksum: int

    @classmethod
    def of(cls, table: torch.Tensor, rows: torch.Tensor) -> "Part":
        return cls(rows, table.detach().index_select(0, rows), checksum(table))

    def restore(self, table: torch.Tensor) -> None:
        table.index_copy_(0, self.rows, self.values)

    def equals(self, table: torch.Tensor) -> bool:
        """Whether these rows are as they were bit for bit, and the others by their checksum."""
        return _same_bits(table.detach().index_select(0, self.rows), self.values) and checksum(table) == self.checksum


@dataclass(frozen=True)
class Saved:
    """Values of a `State` at one moment. `parts`: what was put aside of tables that are not in `tensors`."""

    tensors: dict[str, torch.Tensor]
    generators: dict[str, torch.Tensor]
    counters: dict[str, int]
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        return set(self.tensors) | set(self.parts) | set(self.generators) | set(self.counters)

    def equals(self, name: str, tensor: torch.Tensor) -> bool:
        """Whether a tensor is as it was."""
        return self.parts[name].equals(tensor) if name in self.parts else _same_bits(tensor, self.tensors[name])

    def save(self, path: Path) -> None:
        """Raises ValueError for what `State.aside` gave: a file holds everything."""
        if self.parts:
            raise ValueError(f"expected a copy of everything, found rows of {', '.join(sorted(self.parts))} only")
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
             counters: dict[str, Counter] | None = None, frozen: Collection[str] = (),
             touched: Mapping[str, Rows] | None = None) -> State:
    """The state of modules (parameters and buffers) and optimizers (state tensors and tensor hyperparameters).

    frozen: names (module.parameter) of weights that no step changes.
    touched: names of tables -> rows that warm-up changes, of what optimizers keep for them too.
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
    rows = _touched(tensors, optimizers, touched or {})
    still = {name: tensors.pop(name) for name in frozen}
    return State(tensors, generators or {}, counters or {}, frozenset(own), still,
                 {name: one for name, one in rows.items() if name in tensors})


def _touched(tensors: dict[str, torch.Tensor], optimizers: dict[str, torch.optim.Optimizer],
             tables: Mapping[str, Rows]) -> dict[str, Rows]:
    """Rows of tables and of optimizer state of their shape, where they are too big to copy."""
    rows = {id(tensors[name]): one for name, one in tables.items()}
    owners = [*((name, tensors[name]) for name in tables),
              *(pair for name, optimizer in optimizers.items() for pair in _parameters_of(name, optimizer))]
    return {name: rows[id(table)] for name, table in owners
            if id(table) in rows and name in tensors and tensors[name].shape == table.shape
            and tensors[name].numel() * tensors[name].element_size() >= COPIED_BYTES}


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


@torch.no_grad()
def checksum(tensor: torch.Tensor) -> int:
    """64 bits of a tensor's bits, made on its device a chunk at a time.

    Each word is multiplied by an odd number of its place, folded, multiplied by another and added up, modulo 2^64.
    """
    bits = _bits(tensor)
    first, second = _multipliers(bits.device)
    total = torch.tensor(len(bits), device=bits.device)
    for piece in bits.split(8 * CHUNK_WORDS):
        fits = len(piece) % 8 == 0 and piece.storage_offset() % 8 == 0
        words = (piece if fits else F.pad(piece, (0, -len(piece) % 8))).view(torch.int64)
        mixed = words * first[:len(words)]
        mixed.bitwise_xor_((mixed >> 32).bitwise_and_(0xFFFFFFFF)).mul_(second[:len(words)])  # high bits reach low ones
        total = total * MULTIPLIER + mixed.sum()
    return int(total)


def _multipliers(device: torch.device) -> torch.Tensor:
    drawn = torch.randint(-2**63, 2**63 - 1, (2, CHUNK_WORDS), generator=torch.Generator().manual_seed(0), device="cpu")
    return drawn.bitwise_or_(1).to(device)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return here(tensor).detach().contiguous().reshape(-1).view(torch.uint8)


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(torch.equal(_bits(one), _bits(other)))
