"""The files that the reference supplies, and their reformatting.

    SOURCE/checkpoint/NAME.index, NAME.data-...       starting network (TensorFlow 1 checkpoint)
    SOURCE/target/NAME.index, NAME.data-...           the opponent, likewise
    SOURCE/selfplay/GENERATION/*.tfrecord.zz          games before the start, one folder per generation, oldest first
    SOURCE/sgf/*.sgf                                  professional games (v0.5)

Records are zlib-compressed TFRecords of `tf.train.Example`: `x` uint8 planes with the channels last, `pi` float32
numbers of moves, `outcome` (+1: Black won). Source: reference, preprocessing.py and dual_net.py.
"""

import hashlib
import pickle
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from laptime.config import Json
from laptime.errors import DataProblem
from laptime.suite.minigo import sgf
from laptime.suite.minigo.config import MinigoConfig
from laptime.suite.minigo.examples import Generation
from laptime.suite.minigo.features import COUNT
from laptime.suite.minigo.model import DualNetwork, reference_tensors, transposed, untransposed
from laptime.training.data.store import MANIFEST, Manifest, entries
from laptime.training.data.tf_checkpoint import Checkpoint, write
from laptime.training.data.tfrecord import example, parse, records, write_records
from laptime.training.distributed.world import World
from laptime.training.state import Saved

CHECKPOINT, TARGET, GAMES, RECORDS = "checkpoint", "target", "selfplay", "sgf"
START, OPPONENT, MOVES = "start.pt", "opponent.pt", "moves.npz"  # of the prepared data set
AGAIN = "Download the published files into this folder again."
REMAKE = "Make the data again: `laptime prepare --force`."
CPU = World(0, 1, torch.device("cpu"))


def window_file(number: int) -> str:
    return f"window-{number}.npz"


def reformat(config: MinigoConfig, source: Path, root: Path, *, name: str, generator: str,
             facts: Mapping[str, Json]) -> Manifest:
    """Write what is under `source` as a prepared data set under `root`; the manifest comes last. Raises DataProblem."""
    root.mkdir(parents=True, exist_ok=True)
    (root / MANIFEST).unlink(missing_ok=True)
    weights, data, digest = list[str](), list[str](), hashlib.blake2b(digest_size=16)
    if config.data.start:
        weights.append(save_network(config, source / CHECKPOINT, root / START, digest))
        for number, folder in enumerate(_generations(config, source / GAMES)):
            data.append(_save_games(root / window_file(number), read_generation(config, folder), digest))
    if config.data.evaluation == "match":
        weights.append(save_network(config, source / TARGET, root / OPPONENT, digest))
    else:
        data.append(_save_moves(config, source / RECORDS, root / MOVES, digest))
    manifest = Manifest(
        name=name, generator=generator, content_hash=digest.hexdigest(), facts={**described(config), **facts},
        files=entries(root, data) | entries(root, weights, "weights"))
    manifest.save(root)
    return manifest


def described(config: MinigoConfig) -> dict[str, Json]:
    """What a data set of this configuration says of itself."""
    return {"size": config.game.size, "width": config.model.width, "blocks": config.model.blocks,
            "generations": config.data.window if config.data.start else 0}


# --- networks ---

def blank(config: MinigoConfig) -> DualNetwork:
    return DualNetwork(config.model, config.game.size, config.norm_span, CPU)


def save_network(config: MinigoConfig, folder: Path, target: Path, digest: "hashlib.blake2b") -> str:
    """A checkpoint under `folder` as a file of tensors under their reference names. Raises DataProblem."""
    kept = read_network(config, folder)
    for name, tensor in kept.items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    Saved(kept, {}, {}).save(target)
    return target.name


def read_network(config: MinigoConfig, folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of the one checkpoint in a folder. Raises DataProblem."""
    found = sorted(folder.glob("*.index"))
    if len(found) != 1:
        raise DataProblem(f"expected one checkpoint (*.index) in {folder}, found {len(found)}", hint=AGAIN)
    checkpoint, kept = Checkpoint(found[0].with_suffix("")), dict[str, torch.Tensor]()
    for name, tensor in reference_tensors(blank(config)).items():
        values, expected = checkpoint[name], tuple(transposed(tensor).shape)
        if values.shape != expected:
            raise DataProblem(f"expected '{name}' of shape {expected} in {found[0]}, found {values.shape}", hint=AGAIN)
        kept[name] = torch.from_numpy(values.copy())
    return kept


def write_network(model: DualNetwork, folder: Path) -> None:
    """A network as a published checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "model.ckpt", {name: np.ascontiguousarray(transposed(tensor.detach().float().cpu()).numpy())
                                  for name, tensor in reference_tensors(model).items()})


@torch.no_grad()
def fill_network(model: DualNetwork, config: MinigoConfig, folder: Path) -> None:
    """Fill a network from a published checkpoint. Raises DataProblem."""
    found = read_network(config, folder)
    for name, tensor in reference_tensors(model).items():
        tensor.copy_(untransposed(found[name]))


@torch.no_grad()
def load_network(model: DualNetwork, path: Path) -> None:
    """Fill a network from a prepared file. Raises DataProblem for that of another network."""
    saved = Saved.load(path).tensors
    for name, tensor in reference_tensors(model).items():
        if name not in saved or saved[name].shape != transposed(tensor).shape:
            found = tuple(saved[name].shape) if name in saved else "none"
            raise DataProblem(f"expected '{name}' of shape {tuple(transposed(tensor).shape)} in {path}, found {found}",
                              hint=REMAKE)
        tensor.copy_(untransposed(saved[name]))


# --- games ---

def _generations(config: MinigoConfig, folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.is_dir())
    if len(found) != config.data.window:
        raise DataProblem(f"expected {config.data.window} folders of earlier games in {folder}, found {len(found)}",
                          hint=AGAIN)
    return found


def read_generation(config: MinigoConfig, folder: Path) -> Generation:
    """All records of a folder. Raises DataProblem that names the file and the record."""
    files = sorted(folder.glob("*.tfrecord.zz"))
    rows = [row for path in files for row in _rows(config, path)]
    if not rows:
        raise DataProblem(f"expected records (*.tfrecord.zz) in {folder}, found none", hint=AGAIN)
    planes, policy, outcome = (np.stack(part) for part in zip(*rows, strict=True))
    return Generation.of(planes, policy, outcome)


def _rows(config: MinigoConfig, path: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32], np.float32]]:
    points, channels = config.game.size ** 2, COUNT[config.model.planes]
    for number, record in enumerate(records(path, compressed=True)):
        try:
            found = parse(record)
            planes = np.frombuffer(found["x"][0], np.uint8).reshape(points, channels).T
            policy = np.frombuffer(found["pi"][0], "<f4").reshape(points + 1).astype(np.float32)
            outcome = np.float32(found["outcome"][0])
            sound = planes.max() <= 1 and np.isfinite(policy).all() and policy.min() >= 0 and abs(outcome) == 1
        except (ValueError, LookupError, TypeError) as error:
            raise DataProblem(f"record {number} of {path} is no position of this board: {error}", hint=AGAIN) from None
        if not sound:
            raise DataProblem(f"record {number} of {path} holds impossible values", hint=AGAIN)
        yield planes, policy, outcome


def write_generation(config: MinigoConfig, one: Generation, folder: Path) -> None:
    """A generation as a published file."""
    folder.mkdir(parents=True, exist_ok=True)
    points, channels = config.game.size ** 2, COUNT[config.model.planes]
    planes = np.unpackbits(one.bits, axis=1, count=channels * points).reshape(-1, channels, points)
    write_records(folder / "games.tfrecord.zz", (
        example({"x": [np.ascontiguousarray(x.T).tobytes()], "pi": [pi.astype("<f4").tobytes()],
                 "outcome": np.array([z], np.float32)})
        for x, pi, z in zip(planes, one.policy, one.outcome, strict=True)), compressed=True)


def _save_games(path: Path, one: Generation, digest: "hashlib.blake2b") -> str:
    for part in (one.bits, one.policy, one.outcome):
        digest.update(np.ascontiguousarray(part).tobytes())
    np.savez(path, bits=one.bits, policy=one.policy, outcome=one.outcome)
    return path.name


def load_games(path: Path) -> Generation:
    """A prepared generation. Raises DataProblem."""
    found = _arrays(path, ("bits", "policy", "outcome"))
    if len({len(part) for part in found.values()}) != 1:
        raise DataProblem(f"{path} holds parts of different lengths", hint=REMAKE)
    return Generation(found["bits"], found["policy"], found["outcome"])


def _save_moves(config: MinigoConfig, folder: Path, path: Path, digest: "hashlib.blake2b") -> str:
    """Professional games as one list of moves and where each game begins."""
    files = sorted(folder.glob("*.sgf"))
    if len(files) != config.moves.games:
        raise DataProblem(f"expected {config.moves.games} professional games (*.sgf) in {folder}, found {len(files)}",
                          hint=AGAIN)
    games = [sgf.read(file, config.game.size) for file in files]
    moves = np.concatenate([np.array(game, np.int16) for game in games])
    starts = np.cumsum([0, *map(len, games)]).astype(np.int64)
    digest.update(moves.tobytes() + starts.tobytes())
    np.savez(path, moves=moves, starts=starts)
    return path.name


def load_moves(path: Path) -> list[list[int]]:
    """Prepared professional games. Raises DataProblem."""
    found = _arrays(path, ("moves", "starts"))
    ends = found["starts"].tolist()
    return [found["moves"][a:b].tolist() for a, b in pairwise(ends)]


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, NDArray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return {name: content[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, AttributeError, pickle.UnpicklingError, BadZipFile) as error:
        raise DataProblem(f"{path} is missing or damaged ({type(error).__name__})", hint=REMAKE) from None
