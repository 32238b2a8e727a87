"""The network behind FID at mini scale: a small convolutional network that names what generated pictures show.

It stands for the published Inception network (`inception.py`), has the same interface, and was trained once by
`judging.py`; its file belongs to the repository, because it defines the target.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from laptime.suite.stable_diffusion.pictures import LABEL_COUNTS

CHANNELS = (3, 16, 24, 32, 32)  # a stride of 2 from the second layer on
SIDE = 32


class PictureFeatures(nn.Module):
    """Pictures (N, 3, 32, 32) in [0, 1] to `size` features (N, size)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        pairs = pairwise(CHANNELS)
        self.layers = nn.ModuleList(nn.Conv2d(before, after, 3, stride=1 + (i > 0), padding=1)
                                    for i, (before, after) in enumerate(pairs))
        self.last = nn.Linear(CHANNELS[-1] * (SIDE // 2 ** (len(CHANNELS) - 2)) ** 2, size)
        self.heads = nn.ModuleList(nn.Linear(size, count) for count in LABEL_COUNTS)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = 2.0 * pictures - 1.0
        for layer in self.layers:
            x = F.relu(layer(x))
        return F.relu(self.last(x.flatten(1)))

    def scores(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Class scores of each label (`pictures.Scene.labels`), only for training it."""
        features = self(pictures)
        return [head(features) for head in self.heads]
