"""What `laptime bench` measures of this benchmark, and the independent implementation beside it.

The peer is made of other people's parts: torch's stacked LSTMs, the prediction and joint network of
transformers' RNN-T (Parakeet) over the padded grid of frames and labels, the textbook loss row by row or torchaudio's
where that can be imported, torch's fused AdamW and its averaged model. It starts from features, as our step does, of
the same utterances, whose lengths are those of the published data or of the generated one. One form lets the processor
take subnormal numbers for 0: not torch's default, but it pays where most paths through a lattice are hopeless.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from laptime.config import Json, override
from laptime.errors import UserError
from laptime.suite.rnnt.config import RNNTConfig, full, mini
from laptime.suite.rnnt.data import synthetic_batches
from laptime.suite.rnnt.reader import Micro
from laptime.training.data.store import Manifest
from laptime.training.distributed.world import World
from laptime.training.speed import Precision, resolve

Step = Callable[[], None]
FULL_BATCH = {"cuda": 64}
SMALL_BATCH = 4  # a step of the full network then takes seconds on two CPU cores
RATE = 1e-3  # of the peer; what it learns does not matter

# Seconds that so many percent of utterances last at most (train-clean-360 and train-other-500 at speeds of 0.9 to 1.1,
# published with icefall: egs/librispeech/ASR/local/display_manifest_statistics.py), and how many utterances there are.
PERCENT = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99)
LIBRISPEECH = ((28539 + 104014, (1.0, 2.5, 4.2, 6.2, 11.2, 13.7, 15.3, 16.6, 17.3, 18.1)),
               (148688, (0.8, 2.3, 3.5, 5.0, 9.8, 13.4, 15.1, 16.5, 17.2, 18.1)))
LABELS_PER_SECOND = 4.2  # 9.4 million words in 961 hours, about one and a half of 1,023 pieces in a word
TYPICAL = 64  # utterances that stand for the published ones
# (seconds, labels) of the generated ones: each 64th by length of seed 1, from that on whose labels have the right mean.
MINI = ((0.49, 7), (0.57, 6), (0.62, 12), (0.67, 2), (0.71, 2), (0.77, 8), (0.83, 12), (0.88, 7), (0.94, 3), (0.98, 8),
        (1.03, 7), (1.1, 9), (1.17, 9), (1.23, 8), (1.28, 9), (1.42, 4))


def full_case(device: torch.device) -> RNNTConfig:
    """The full network at a batch that one device holds."""
    batch = FULL_BATCH.get(device.type, SMALL_BATCH)
    return override(full(), [f"global_batch_size={batch}", "parallel.accumulation_steps=1"])


def mini_case(device: torch.device) -> RNNTConfig:
    """As it is run."""
    return mini()


def facts(config: RNNTConfig) -> Mapping[str, Json]:
    """What the manifest of this configuration's data says."""
    published = config.model.vocabulary > 1000
    utterances = typical(config.data.max_duration) if published else MINI
    sizes: list[Json] = [[int(seconds * config.data.sample_rate), labels] for seconds, labels in utterances]
    seconds, labels = (max(one) for one in zip(*utterances, strict=True))
    return {"train_samples": sum(config.data.train_utterances), "eval_samples": config.data.eval_utterances,
            "vocabulary": config.model.vocabulary, "pieces": [], "max_duration": config.data.max_duration,
            "longest_train": int(seconds * config.data.sample_rate), "typical": sizes,
            "longest_eval": int(seconds * config.data.sample_rate), "longest_labels": labels}


def typical(longest: float) -> tuple[tuple[float, int], ...]:
    """(seconds, labels) of utterances that stand for the published ones up to `longest` seconds, by length."""
    every = np.sort(np.concatenate([np.interp(_middles(count // 100, 100.0), PERCENT, seconds)
                                    for count, seconds in LIBRISPEECH]))
    kept = every[every <= longest]
    chosen = kept[_middles(TYPICAL, len(kept)).astype(np.int64)]
    return tuple((float(seconds), max(1, round(LABELS_PER_SECOND * seconds))) for seconds in chosen)


def _middles(count: int, width: float) -> NDArray[np.float64]:
    """The middles of `count` equal parts of 0 to `width`."""
    middles: NDArray[np.float64] = (np.arange(count) + 0.5) * width / count
    return middles


def mini_feed(utterances: int) -> RNNTConfig:
    """The generated speech of mini, decoded and augmented anew in every epoch."""
    count = max(64, utterances)  # every published split has a folder, so none may be empty
    return override(mini(), [f"data.train_utterances=1,1,{count - 2}", "data.eval_utterances=10"])


class Network(torch.nn.Module):
    """Other people's parts put together; logits (B, T, U + 1, V + 1)."""

    def __init__(self, config: RNNTConfig) -> None:
        super().__init__()
        try:
            from transformers import ParakeetRNNTConfig
            from transformers.models.parakeet.modeling_parakeet import ParakeetRNNTDecoder, ParakeetRNNTJointNetwork
        except ImportError:
            raise UserError("the peer is made of the package transformers, of the extra dev: pip install "
                            "'laptime[dev]'") from None
        model, data = config.model, config.data
        width, classes = model.encoder_width, model.vocabulary + 1
        self.pre = torch.nn.LSTM(data.splice * data.mels, width, model.pre_layers)
        self.post = torch.nn.LSTM(model.time_stack * width, width, model.post_layers)
        their = ParakeetRNNTConfig(vocab_size=classes, blank_token_id=classes - 1, hidden_act="relu",
                                   decoder_hidden_size=model.joint_width, num_decoder_layers=model.prediction_layers)
        self.decoder, self.joint = ParakeetRNNTDecoder(their), ParakeetRNNTJointNetwork(their)
        self.enter = torch.nn.Linear(width, model.joint_width)
        self.config = model

    def forward(self, x_TBF: torch.Tensor, labels_BU: torch.Tensor) -> torch.Tensor:
        low = F.dropout(self.pre(x_TBF)[0], self.config.encoder_dropout)
        low = F.pad(low, (0, 0, 0, 0, 0, len(low) % 2)).view(-1, 2, *low.shape[1:]).transpose(1, 2).flatten(2)
        high = self.enter(F.dropout(self.post(low)[0], self.config.encoder_dropout)).transpose(0, 1)
        heard = F.dropout(self.decoder(F.pad(labels_BU, (1, 0), value=self.config.vocabulary)),
                          self.config.prediction_dropout)
        hidden = self.joint.activation(heard[:, None] + high[:, :, None])
        logits: torch.Tensor = self.joint.head(F.dropout(hidden, self.config.joint_dropout))
        return logits


class Lengths(NamedTuple):
    """Of each utterance: steps after the encoder, and labels, int64 (B,)."""

    steps: torch.Tensor
    labels: torch.Tensor


Loss = Callable[[torch.Tensor, torch.Tensor, Lengths], torch.Tensor]


def textbook_loss(logits: torch.Tensor, labels_BU: torch.Tensor, lengths: Lengths) -> torch.Tensor:
    """Mean negative log likelihood over the padded grid: one row of the lattice at a time, the sum along a row by a
    cumulative log-sum; gradients by autograd."""
    scores = logits.float().log_softmax(3)
    chosen = labels_BU[:, None, :, None].expand(-1, logits.shape[1], -1, 1)
    blank, label = scores[..., -1], scores[:, :, :-1].gather(3, chosen)
    along = F.pad(label.squeeze(3).cumsum(2), (1, 0))
    alphas = [along[:, 0]]
    for t in range(1, logits.shape[1]):
        alphas.append(along[:, t] + torch.logcumsumexp(alphas[-1] + blank[:, t - 1] - along[:, t], 1))
    whole = torch.stack(alphas, 1) + blank
    return -whole[torch.arange(len(whole), device=whole.device), lengths.steps - 1, lengths.labels].mean()


def torchaudio_loss(logits: torch.Tensor, labels_BU: torch.Tensor, lengths: Lengths) -> torch.Tensor:
    """The compiled loss of torchaudio. Raises UserError without it."""
    try:
        from torchaudio.functional import rnnt_loss
    except (ImportError, OSError):
        raise UserError("torchaudio cannot be imported beside this torch: its loss is left out") from None
    counts = (one.int() for one in lengths)
    loss: torch.Tensor = rnnt_loss(logits.float(), labels_BU.int(), *counts, blank=logits.shape[3] - 1)
    return loss


def measured_micro(config: RNNTConfig, device: torch.device) -> Micro:
    """The batch that our step is measured with."""
    manifest = Manifest("none", "", "", facts(config), {})
    micro: Micro = next(synthetic_batches(config, manifest, World(0, 1, device))).micro[0]
    return micro


def lengths_of(micro: Micro) -> Lengths:
    batch = micro.cells.shape[1]
    return Lengths(*(one[micro.cells.last] // batch + more for one, more in ((micro.cells.frame, 1),
                                                                            (micro.cells.label, 0))))


def peer(config: RNNTConfig, device: torch.device, *, loss: Loss, flush: bool = False) -> Step:
    """One whole training step on a batch that stays. flush: subnormal numbers count as 0 meanwhile.

    Raises UserError without transformers, or where the processor cannot do that.
    """
    precision = Precision.of(resolve(config.speed, device))
    model = Network(config).train().to(device, precision.parameters)
    micro = measured_micro(config, device)
    labels, features = micro.labels_UB.T.contiguous(), micro.features_TBF.to(precision.parameters)
    lengths, average = lengths_of(micro), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_factor))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=config.optimizer.weight_decay, fused=True)

    def step() -> None:
        with torch.autocast(device.type, dtype=precision.autocast, enabled=precision.autocast is not None):
            value = loss(model(features, labels), labels, lengths)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm)
        optimizer.step()
        average.update_parameters(model)
        optimizer.zero_grad(set_to_none=True)

    def flushed() -> None:
        if not torch.set_flush_denormal(True):
            raise UserError("this processor cannot take subnormal numbers for 0")
        try:
            step()
        finally:
            torch.set_flush_denormal(False)

    chosen = flushed if flush else step
    chosen()
    return chosen


CASES: Mapping[str, Callable[[torch.device], RNNTConfig]] = {"mini": mini_case, "full": full_case}
FACTS = facts
PEERS: Mapping[str, Callable[[RNNTConfig, torch.device], Step]] = {
    "torch and transformers, textbook loss": partial(peer, loss=textbook_loss),
    "the same, subnormal numbers flushed": partial(peer, loss=textbook_loss, flush=True),
    "torch and transformers, torchaudio's loss": partial(peer, loss=torchaudio_loss)}
FEEDS: Mapping[str, Callable[[int], RNNTConfig]] = {"mini speech": mini_feed}
