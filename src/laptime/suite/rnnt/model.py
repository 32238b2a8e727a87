"""The recurrent neural network transducer of the reference: encoder, prediction network, joint network.

Letters: T frames, B utterances, U labels, F features, W width, N cells (`training.nn.transducer_loss`), V pieces.
Recurrent inputs are time-major. Modules carry the names under which the reference logs their initialisation.
"""

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from laptime.suite.rnnt.config import ModelConfig
from laptime.suite.rnnt.joint import cached, joint_scores
from laptime.training.nn.keyed_dropout import KeyedDropout
from laptime.training.nn.transducer_loss import Lattice, transition_scores

NAMES = ("pre_rnn", "post_rnn", "pred_embed", "dec_rnn", "joint_pred", "joint_enc", "joint_net")  # reference, logs
STEP_KEY = 0x1E3779B1  # odd; sets the dropout keys of neighbouring steps apart
CELL_KEY = 0x5851F42D

States = list[tuple[torch.Tensor, torch.Tensor]]


class Recurrent(torch.nn.Module):
    """Unidirectional LSTM layers, dropout after each."""

    def __init__(self, inputs: int, width: int, layers: int, dropout: float, place: str) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.LSTM(inputs if i == 0 else width, width) for i in range(layers))
        self.dropouts = torch.nn.ModuleList(KeyedDropout(width, dropout, f"{place}{i}") for i in range(layers))

    def forward(self, x_TBW: torch.Tensor, keys_B: torch.Tensor | None = None) -> torch.Tensor:
        """keys_B: int32 dropout keys of the utterances; needed in training only."""
        for layer, dropout in zip(self.layers, self.dropouts, strict=True):
            x_TBW, _ = layer(x_TBW)
            if self.training and keys_B is not None:
                x_TBW = dropout(x_TBW.flatten(0, 1), step_keys(keys_B, len(x_TBW)).flatten()).view(x_TBW.shape)
        return x_TBW

    def step(self, x_BW: torch.Tensor, states: States) -> tuple[torch.Tensor, States]:
        """One step from the states of the layers, without dropout."""
        after: States = []
        for layer, (h0, c0) in zip(self.layers, states, strict=True):
            out, (h, c) = layer(x_BW[None], (h0[None], c0[None]))
            x_BW = out[0]
            after.append((h[0], c[0]))
        return x_BW, after


def step_keys(keys_B: torch.Tensor, steps: int) -> torch.Tensor:
    """A dropout key for each step of each utterance, (steps, B) int32."""
    return keys_B ^ (torch.arange(steps, dtype=torch.int32, device=keys_B.device) * STEP_KEY)[:, None]


class RNNT(torch.nn.Module):
    """`forward` gives the scores of all cells of a batch; `encode`, `predict` and `joint` are what decoding needs."""

    def __init__(self, config: ModelConfig, features: int) -> None:
        super().__init__()
        self.config, width = config, config.encoder_width
        self.pre_rnn = Recurrent(features, width, config.pre_layers, config.encoder_dropout, "rnnt pre")
        self.post_rnn = Recurrent(config.time_stack * width, width, config.post_layers, config.encoder_dropout,
                                  "rnnt post")
        self.pred_embed = torch.nn.Embedding(config.vocabulary, config.prediction_width)
        self.dec_rnn = Recurrent(config.prediction_width, config.prediction_width, config.prediction_layers,
                                 config.prediction_dropout, "rnnt dec")
        self.joint_enc = torch.nn.Linear(width, config.joint_width)
        self.joint_pred = torch.nn.Linear(config.prediction_width, config.joint_width)
        self.joint_dropout = KeyedDropout(config.joint_width, config.joint_dropout, "joint")
        self.joint_net = torch.nn.Linear(config.joint_width, config.vocabulary + 1)

    def forward(self, x_TBF: torch.Tensor, frames_B: torch.Tensor, labels_UB: torch.Tensor, cells: Lattice,
                keys_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(blank, label) log probabilities (N,) of every cell, in float32 or wider.

        frames_B: input frames of each utterance; labels_UB: int64, anything beyond an utterance's own; keys_B: int32.
        """
        f_TBW = self.joint_enc(self.encode(x_TBF, frames_B, keys_B))
        g_UBW = self.joint_pred(self.predict(labels_UB, keys_B))
        return self.scores(f_TBW, g_UBW, cells, keys_B)

    def scores(self, f_TBW: torch.Tensor, g_UBW: torch.Tensor, cells: Lattice,
               keys_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The joint network over all cells, in the form that suits their number and place."""
        total, size = len(cells.frame), self.config.cells_at_a_time
        if total <= size and cached(f_TBW, total * (self.config.vocabulary + 1)):
            dropout = self.joint_dropout.probability if self.training else 0.0
            return joint_scores(f_TBW, g_UBW, self.joint_net, cells, dropout=dropout,
                                drop=lambda hidden, rows: self._dropped(hidden, cells, keys_B, rows))
        f, g = f_TBW.flatten(0, 1), g_UBW.flatten(0, 1)
        if total <= size:
            return self._scores(f, g, cells, keys_B, slice(0, total))
        parts = [checkpoint(self._scores, f, g, cells, keys_B, slice(start, start + size), use_reentrant=False)
                 for start in range(0, total, size)]
        blank, label = zip(*parts, strict=True)
        return torch.cat(blank), torch.cat(label)

    def encode(self, x_TBF: torch.Tensor, frames_B: torch.Tensor, keys_B: torch.Tensor | None = None) -> torch.Tensor:
        """(ceil(T / time_stack), B, W)."""
        return self.post_rnn(stacked(self.pre_rnn(x_TBF, keys_B), frames_B, self.config.time_stack), keys_B)

    def predict(self, labels_UB: torch.Tensor, keys_B: torch.Tensor | None = None) -> torch.Tensor:
        """(U + 1, B, W): what the prediction network says after 0, 1, ... U labels."""
        return self.dec_rnn(F.pad(self.embed(labels_UB), (0, 0, 0, 0, 1, 0)), keys_B)  # starts from a vector of zeros

    def embed(self, labels: torch.Tensor) -> torch.Tensor:
        """Embedded labels, one more dimension."""
        embedded: torch.Tensor = self.pred_embed(labels)
        return embedded if self.config.hears_labels else embedded * 0.0

    def joint(self, f: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Logits (rows, V + 1) of projected encoder and prediction outputs (rows, W), without dropout."""
        return self.joint_net(F.relu(f + g))

    def _scores(self, f: torch.Tensor, g: torch.Tensor, cells: Lattice, keys_B: torch.Tensor,
                rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = F.relu(f.index_select(0, cells.frame[rows]) + g.index_select(0, cells.label[rows]))
        if self.training and self.config.joint_dropout:
            hidden = self._dropped(hidden, cells, keys_B, rows)
        logits = self.joint_net(hidden)
        return transition_scores(logits.to(torch.promote_types(logits.dtype, torch.float32)), cells, rows)

    def _dropped(self, hidden: torch.Tensor, cells: Lattice, keys_B: torch.Tensor, rows: slice) -> torch.Tensor:
        dropped: torch.Tensor = self.joint_dropout(
            hidden, keys_B[cells.sequence[rows]] ^ _numbers(cells, rows) * CELL_KEY)
        return dropped


def _numbers(cells: Lattice, rows: slice) -> torch.Tensor:
    """A number for each (t, u) of some cells, whatever the batch, (rows,) int32."""
    batch = cells.shape[1]
    return ((cells.frame[rows] // batch << 12) + cells.label[rows] // batch).to(torch.int32)


def stacked(x_TBW: torch.Tensor, frames_B: torch.Tensor, factor: int) -> torch.Tensor:
    """`factor` neighbouring steps side by side, (ceil(T / factor), B, factor W); zeros beyond an utterance's own."""
    frames, batch, width = x_TBW.shape
    beyond = torch.arange(frames, device=x_TBW.device)[:, None] >= frames_B
    whole = F.pad(x_TBW.masked_fill(beyond[:, :, None], 0.0), (0, 0, 0, 0, 0, -frames % factor))
    return whole.view(-1, factor, batch, width).transpose(1, 2).reshape(-1, batch, factor * width)


@torch.no_grad()
def initialise(model: RNNT, generator: torch.Generator) -> None:
    """Draw all weights: torch's distributions, the forget biases set, then every LSTM tensor scaled (reference model).

    Drawn in float32 on the CPU, so that every device starts equal.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.LSTM):
            _initialise_lstm(module, model.config, generator)
        elif isinstance(module, torch.nn.Linear):
            for tensor in (module.weight, module.bias):
                tensor.copy_(_uniform(tensor, module.in_features**-0.5, generator))
        elif isinstance(module, torch.nn.Embedding):
            module.weight.copy_(torch.empty(module.weight.shape, device="cpu").normal_(generator=generator))


def _initialise_lstm(lstm: torch.nn.LSTM, config: ModelConfig, generator: torch.Generator) -> None:
    width = lstm.hidden_size
    for name, tensor in lstm.named_parameters():
        drawn = _uniform(tensor, width**-0.5, generator)
        if name.startswith("bias_ih"):
            drawn[width:2 * width] = config.forget_bias
        elif name.startswith("bias_hh"):
            drawn[width:2 * width] *= config.hidden_bias_scale
        tensor.copy_(drawn * config.initialisation_scale)


def _uniform(tensor: torch.Tensor, bound: float, generator: torch.Generator) -> torch.Tensor:
    return torch.empty(tensor.shape, dtype=torch.float32, device="cpu").uniform_(-bound, bound, generator=generator)
