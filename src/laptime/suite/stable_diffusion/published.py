"""The published data set and frozen networks, as they are downloaded, and their reformatting into shards.

    SOURCE/datasets/laion-400m/webdataset-moments-filtered/00000.tar, ...   training samples: KEY.npy, KEY.txt (, .json)
    SOURCE/datasets/coco2014/val2014_30k.tsv                                evaluation captions: image_id, id, caption
    SOURCE/datasets/coco2014/val2014_30k_stats.npz                          mu and sigma of the real pictures' features
    SOURCE/checkpoints/sd/512-base-ema.ckpt                                 autoencoder ("first_stage_model.")
    SOURCE/checkpoints/clip/open_clip_pytorch_model.bin                     contrastive network
    SOURCE/checkpoints/inception/pt_inception-2015-12-05-6726825d.pth       features behind FID
    SOURCE/bpe_simple_vocab_16e6.txt.gz                                     merges of the vocabulary

An npy is float32 (1, 2 x latent, side, side): the autoencoder's moments of a picture. Source: reference, README and its
download scripts.
"""

import csv
import hashlib
import io
import pickle
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from laptime.config import Json
from laptime.errors import DataProblem
from laptime.suite.stable_diffusion.autoencoder import Autoencoder
from laptime.suite.stable_diffusion.clip import Clip
from laptime.suite.stable_diffusion.config import StableDiffusionConfig
from laptime.suite.stable_diffusion.features import PictureFeatures
from laptime.suite.stable_diffusion.inception import FEATURES, Inception
from laptime.suite.stable_diffusion.text import BytePairs
from laptime.training.data.reformat import begin, end
from laptime.training.data.shards import Sample, finished_shard, forget_rows, join_index, write_shard
from laptime.training.data.store import Manifest, entries
from laptime.training.data.tar_shards import tar_samples

TRAIN = "datasets/laion-400m/webdataset-moments-filtered"
CAPTIONS = "datasets/coco2014/val2014_30k.tsv"
STATISTICS = "datasets/coco2014/val2014_30k_stats.npz"
AUTOENCODER = "checkpoints/sd/512-base-ema.ckpt"
CLIP = "checkpoints/clip/open_clip_pytorch_model.bin"
FEATURE_NETWORK = "checkpoints/inception/pt_inception-2015-12-05-6726825d.pth"
MERGES = "bpe_simple_vocab_16e6.txt.gz"
PREFIX = "first_stage_model."  # of the autoencoder's tensors in the published checkpoint
AGAIN = "Download the published files into this folder again."
REMAKE = "Make the data again: `laptime prepare --force`."

KEPT_STATISTICS = "statistics.npz"  # names in a prepared data set
WEIGHTS = {"autoencoder.pt": AUTOENCODER, "clip.pt": CLIP, "features.pt": FEATURE_NETWORK}

Tensors = dict[str, torch.Tensor]


def networks(config: StableDiffusionConfig) -> dict[str, nn.Module]:
    """The frozen networks by the names of their files, with weights still to be loaded."""
    small = config.data.features != FEATURES
    return {"autoencoder.pt": Autoencoder(config.autoencoder), "clip.pt": Clip(config.text, config.vision),
            "features.pt": PictureFeatures(config.data.features) if small else Inception()}


def reformat(config: StableDiffusionConfig, source: Path, root: Path, *, name: str, generator: str,
             facts: Mapping[str, Json], content_hash: str = "") -> Manifest:
    """Write what is under `source` as a prepared data set under `root`; the manifest comes last.

    Every moment is kept to the last bit, every caption as numbers. An interrupted reformat goes on after its last whole
    shard. Without a `content_hash`, that of the names and sizes of the published files is taken. Raises DataProblem.
    """
    verify(config, source)
    files = train_files(source, config.data.shards)
    fingerprint = _fingerprint([*files, source / CAPTIONS, source / STATISTICS])
    begin(root, fingerprint + repr(config.text))
    vocabulary = BytePairs.load(source / MERGES, config.text.vocabulary)
    for kept, module in _on_meta(config).items():
        _keep(module, source / WEIGHTS[kept], root / kept)
    train = _training(config, vocabulary, files, root)
    captions = _captions(config, vocabulary, source / CAPTIONS)
    write_shard(root, "eval", 0, captions)
    _keep_statistics(config, source / STATISTICS, root / KEPT_STATISTICS)
    data = [*train, *join_index(root, "eval", 1), KEPT_STATISTICS]
    manifest = Manifest(
        name=name, generator=generator, content_hash=content_hash or fingerprint,
        facts={"train_samples": config.data.train_samples, "eval_samples": config.data.eval_samples,
               "latent_side": config.latent_side, "length": config.text.length, **facts},
        files=entries(root, data) | entries(root, WEIGHTS, "weights"))
    manifest.save(root)
    forget_rows(root)
    end(root)
    return manifest


def verify(config: StableDiffusionConfig, source: Path) -> None:
    """Compare files of the source with what is published of their checksums. Raises DataProblem."""
    for known in config.data.checksums:
        name, _, expected = known.partition("=")
        try:
            with (source / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataProblem(f"cannot read {source / name}: {error.strerror}", hint=AGAIN) from None
        if not found.startswith(expected):
            raise DataProblem(f"expected a SHA-256 that begins with {expected} of {source / name}, "
                              f"found {found[:len(expected)]}", hint=AGAIN)


def train_files(source: Path, count: int) -> list[Path]:
    """The `count` files of training samples. Raises DataProblem where one is missing or there are more."""
    folder = source / TRAIN
    found = {path.name for path in folder.glob("*.tar")}
    expected = [f"{i:05d}.tar" for i in range(count)]
    missing = next((name for name in expected if name not in found), "")
    if missing or len(found) != count:
        raise DataProblem(f"expected {count} files of training samples in {folder}, found {len(found)}"
                          + (f"; {missing} is missing" if missing else ""), hint=AGAIN)
    return [folder / name for name in expected]


def _training(config: StableDiffusionConfig, vocabulary: BytePairs, files: list[Path], root: Path) -> list[str]:
    """One shard per file. Raises DataProblem when their samples together are not the expected number."""
    found = 0
    for number, path in enumerate(files):
        kept = _already(root, number)
        found += kept or write_shard(root, "train", number, _samples(config, vocabulary, path))
    if found != config.data.train_samples:
        raise DataProblem(f"expected {config.data.train_samples} samples in the tar files at {files[0].parent}, "
                          f"found {found}",
                          hint=f"Complete the data, or set data.train_samples={found} for an unranked run.")
    return join_index(root, "train", len(files))


def _already(root: Path, number: int) -> int:
    """Samples of a whole shard that an interrupted reformat left, else 0."""
    rows = root / f"train-{number:05d}.rows.npy"
    count = len(np.load(rows, allow_pickle=False)) if rows.is_file() else 0
    return count if count and finished_shard(root, "train", number, count) else 0


def _samples(config: StableDiffusionConfig, vocabulary: BytePairs, path: Path) -> Iterator[Sample]:
    for sample in tar_samples(path):
        try:
            moments, caption = moments_of(config, sample.parts["npy"]), sample.parts["txt"].decode("utf-8")
        except KeyError as error:
            raise DataProblem(f"sample {sample.key} of {path} has no part {error}", hint=AGAIN) from None
        except (ValueError, EOFError) as error:
            raise DataProblem(f"sample {sample.key} of {path} cannot be read: {error}", hint=AGAIN) from None
        yield Sample(moments.tobytes() + vocabulary.encoded(caption, config.text.length).tobytes(), 0,
                     config.latent_side, config.latent_side)


def moments_of(config: StableDiffusionConfig, content: bytes) -> NDArray[np.float32]:
    """(2 latent, side, side) of one npy. Raises ValueError for another shape, type or numbers that are not finite."""
    found = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    shape = (1, 2 * config.autoencoder.latent, config.latent_side, config.latent_side)
    if found.dtype != np.float32 or found.shape != shape:
        raise ValueError(f"expected float32 moments of shape {shape}, found {found.dtype} of {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError("expected finite moments")
    moments: NDArray[np.float32] = found[0]
    return moments


def _captions(config: StableDiffusionConfig, vocabulary: BytePairs, path: Path) -> list[Sample]:
    """The evaluation captions as numbers. Raises DataProblem."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            captions = [row["caption"] for row in csv.DictReader(file, delimiter="\t")]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DataProblem(f"expected a table with a column 'caption' at {path}, found other "
                          f"({type(error).__name__}: {error})", hint=AGAIN) from None
    if len(captions) != config.data.eval_samples or None in captions:
        raise DataProblem(f"expected {config.data.eval_samples} captions in {path}, "
                          f"found {sum(caption is not None for caption in captions)}", hint=AGAIN)
    return [Sample(vocabulary.encoded(caption, config.text.length).tobytes(), 0, 0, 0) for caption in captions]


def _keep_statistics(config: StableDiffusionConfig, path: Path, target: Path) -> None:
    mean, covariance = read_statistics(path, config.data.features, AGAIN)
    np.savez(target, mu=mean, sigma=covariance)


def read_statistics(path: Path, features: int, hint: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(mean, covariance) of the real pictures' features. Raises DataProblem with `hint`."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            mean, covariance = content["mu"].astype(np.float64), content["sigma"].astype(np.float64)
    except (OSError, ValueError, LookupError, TypeError, EOFError, AttributeError, BadZipFile, zlib.error,
            pickle.UnpicklingError) as error:
        raise DataProblem(f"expected arrays mu and sigma at {path}, found other ({error})", hint=hint) from None
    if mean.shape != (features,) or covariance.shape != (features, features):
        raise DataProblem(f"expected statistics of {features} features at {path}, found shapes {mean.shape} and "
                          f"{covariance.shape}", hint=hint)
    return mean, covariance


def _on_meta(config: StableDiffusionConfig) -> dict[str, nn.Module]:
    with torch.device("meta"):
        return networks(config)


def _keep(module: nn.Module, source: Path, target: Path) -> None:
    """Keep the tensors of `module` from a published checkpoint. Raises DataProblem."""
    found = _loaded(source, AGAIN)
    found = {name.removeprefix(PREFIX): tensor for name, tensor in found.items()}
    _check(module, found, source, AGAIN)
    torch.save({name: found[name].float().contiguous() for name in module.state_dict() if name in found}, target)


def load_network(module: nn.Module, path: Path) -> None:
    """Put kept weights into a frozen network. Raises DataProblem for a file that does not fit."""
    found = _loaded(path, REMAKE)
    _check(module, found, path, REMAKE)
    module.load_state_dict(found, strict=False)


def _loaded(path: Path, hint: str) -> Tensors:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, EOFError, AttributeError,
            pickle.UnpicklingError, struct.error) as error:
        raise DataProblem(f"expected tensors at {path}, found other ({type(error).__name__})", hint=hint) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise DataProblem(f"expected named tensors at {path}, found other", hint=hint)
    return {str(name): tensor for name, tensor in content.items() if isinstance(tensor, torch.Tensor)}


def _check(module: nn.Module, found: Tensors, path: Path, hint: str) -> None:
    """Every tensor of `module` is there, but for counters of batch norm, which no evaluation reads."""
    for name, tensor in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if name not in found:
            raise DataProblem(f"expected a tensor '{name}' in {path}, found none", hint=hint)
        if found[name].shape != tensor.shape:
            raise DataProblem(f"expected '{name}' of shape {tuple(tensor.shape)} in {path}, found "
                              f"{tuple(found[name].shape)}", hint=hint)


def _fingerprint(files: list[Path]) -> str:
    try:
        text = "".join(f"{path.name} {path.stat().st_size}\n" for path in files)
    except OSError as error:
        raise DataProblem(f"cannot read {error.filename}: {error.strerror}", hint=AGAIN) from None
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
