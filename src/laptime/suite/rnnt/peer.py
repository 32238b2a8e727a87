"""What `laptime bench` measures of this benchmark, and the independent implementation beside it.

The peer is made of other people's parts: torch's stacked LSTMs, the prediction and joint network of
transformers' RNN-T (Parakeet) over the padded grid of frames and labels, the textbook loss row by row or torchaudio's
where that can be imported, torch's fused AdamW and its averaged model. It starts from features, as our step does.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
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
SMALL_BATCH = 2  # a step of the full network then takes seconds on two CPU cores
RATE = 1e-3  # of the peer; what it learns does not matter
SECONDS, LABELS = {"full": 8.0, "mini": 1.2}, {"full": 40, "mini": 6}  # of the synthetic utterances


def full_case(device: torch.device) -> RNNTConfig:
    """The full network at a batch that one device holds."""
    batch = FULL_BATCH.get(device.type, SMALL_BATCH)
    return override(full(), [f"global_batch_size={batch}", "parallel.accumulation_steps=1"])


def mini_case(device: torch.device) -> RNNTConfig:
    """As it is run."""
    return mini()


def facts(config: RNNTConfig) -> Mapping[str, Json]:
    """What the manifest of this configuration's data says."""
    kind = "full" if config.model.vocabulary > 1000 else "mini"
    samples = int(SECONDS[kind] * config.data.sample_rate)
    return {"train_samples": sum(config.data.train_utterances), "eval_samples": config.data.eval_utterances,
            "vocabulary": config.model.vocabulary, "pieces": [], "max_duration": config.data.max_duration,
            "longest_train": samples, "longest_eval": samples, "longest_labels": LABELS[kind]}


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


def textbook_loss(logits: torch.Tensor, labels_BU: torch.Tensor) -> torch.Tensor:
    """Mean negative log likelihood of utterances of equal length: one row of the lattice at a time, the sum along a row
    by a cumulative log-sum; gradients by autograd."""
    scores = logits.float().log_softmax(3)
    chosen = labels_BU[:, None, :, None].expand(-1, logits.shape[1], -1, 1)
    blank, label = scores[..., -1], scores[:, :, :-1].gather(3, chosen)
    along = F.pad(label.squeeze(3).cumsum(2), (1, 0))
    alpha = along[:, 0]
    for t in range(1, logits.shape[1]):
        alpha = along[:, t] + torch.logcumsumexp(alpha + blank[:, t - 1] - along[:, t], 1)
    return -(alpha[:, -1] + blank[:, -1, -1]).mean()


def torchaudio_loss(logits: torch.Tensor, labels_BU: torch.Tensor) -> torch.Tensor:
    """The compiled loss of torchaudio. Raises UserError without it."""
    try:
        from torchaudio.functional import rnnt_loss
    except (ImportError, OSError):
        raise UserError("torchaudio cannot be imported beside this torch: its loss is left out") from None
    batch, frames, width, classes = logits.shape
    counts = (torch.full((batch,), n, dtype=torch.int32, device=logits.device) for n in (frames, width - 1))
    loss: torch.Tensor = rnnt_loss(logits.float(), labels_BU.int(), *counts, blank=classes - 1)
    return loss


def peer(config: RNNTConfig, device: torch.device, *,
         loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Step:
    """One whole training step on a batch that stays. Raises UserError without transformers."""
    precision = Precision.of(resolve(config.speed, device))
    model = Network(config).train().to(device, precision.parameters)
    manifest = Manifest("none", "", "", facts(config), {})
    micro: Micro = next(synthetic_batches(config, manifest, World(0, 1, device))).micro[0]
    labels, features = micro.labels_UB.T.contiguous(), micro.features_TBF.to(precision.parameters)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_factor))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=config.optimizer.weight_decay, fused=True)

    def step() -> None:
        with torch.autocast(device.type, dtype=precision.autocast, enabled=precision.autocast is not None):
            value = loss(model(features, labels), labels)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm)
        optimizer.step()
        average.update_parameters(model)
        optimizer.zero_grad(set_to_none=True)

    step()
    return step


CASES: Mapping[str, Callable[[torch.device], RNNTConfig]] = {"mini": mini_case, "full": full_case}
FACTS = facts
PEERS: Mapping[str, Callable[[RNNTConfig, torch.device], Step]] = {
    "torch and transformers, textbook loss": partial(peer, loss=textbook_loss),
    "torch and transformers, torchaudio's loss": partial(peer, loss=torchaudio_loss)}
FEEDS: Mapping[str, Callable[[int], RNNTConfig]] = {"mini speech": mini_feed}
