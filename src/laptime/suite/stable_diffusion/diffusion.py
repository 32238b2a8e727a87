"""Adding noise, what is learnt, and taking noise away again (Ho et al. 2020; Song et al. 2021; Salimans & Ho 2022).

abar_t is the share of signal that is left at level t. A latent z with noise e is seen as sqrt(abar) z + sqrt(1-abar) e;
the network learns the velocity sqrt(abar) e - sqrt(1 - abar) z.
"""

from collections.abc import Callable

import torch

from laptime.suite.stable_diffusion.config import DiffusionConfig

Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
LOGARITHMS = (-30.0, 20.0)  # logarithms of a latent's variance are clamped to these (reference)


def kept_signal(config: DiffusionConfig) -> torch.Tensor:
    """(steps,) abar in double precision: the betas' square roots grow linearly (reference's "linear" schedule)."""
    roots = torch.linspace(config.first_beta**0.5, config.last_beta**0.5, config.steps, dtype=torch.float64,
                           device="cpu")
    return (1.0 - roots.square()).cumprod(0)


class Noising(torch.nn.Module):
    """The forward process: tables of sqrt(abar) and sqrt(1 - abar) in single precision."""

    signal: torch.Tensor
    noise: torch.Tensor

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.learnt = config.learnt
        kept = kept_signal(config)
        self.register_buffer("signal", kept.sqrt().float(), persistent=False)
        self.register_buffer("noise", (1.0 - kept).sqrt().float(), persistent=False)

    def forward(self, latents: torch.Tensor, noise: torch.Tensor,
                levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(what the network sees, what it shall say) for latents and noise (N, C, h, w) at levels (N,)."""
        signal, share = (table[levels].to(latents.dtype)[:, None, None, None] for table in (self.signal, self.noise))
        seen = signal * latents + share * noise
        return seen, noise if self.learnt == "noise" else signal * noise - share * latents


def drawn_latents(moments: torch.Tensor, noise: torch.Tensor, scale: float) -> torch.Tensor:
    """Scaled latents (N, C, h, w) from moments (N, 2C, h, w): means, then logarithms of variances."""
    mean, logarithm = moments.chunk(2, dim=1)
    return scale * (mean + (0.5 * logarithm.clamp(*LOGARITHMS)).exp() * noise)


def sampling_levels(steps: int, of: int) -> list[int]:
    """The levels that sampling visits, from the noisiest: evenly spaced, shifted by one (reference, DDIM "uniform")."""
    return [level + 1 for level in range(0, of, of // steps)][::-1]


@torch.no_grad()
def sampled(config: DiffusionConfig, steps: int, noise: torch.Tensor, velocity: Predict) -> torch.Tensor:
    """DDIM without noise of its own (eta 0): from pure `noise` (N, C, h, w) to latents.

    `velocity`: (seen, levels (N,)) to the network's output. The last step ends at the signal of level 0.
    """
    kept = kept_signal(config)
    levels, seen = sampling_levels(steps, config.steps), noise
    for level, following in zip(levels, [*levels[1:], 0], strict=True):
        signal, share = float(kept[level].sqrt()), float((1 - kept[level]).sqrt())
        said = velocity(seen, torch.full((len(seen),), level, device=seen.device)).to(seen.dtype)
        clean, left = signal * seen - share * said, signal * said + share * seen
        seen = float(kept[following].sqrt()) * clean + float((1 - kept[following]).sqrt()) * left
    return seen


def guided(velocity: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor], context: torch.Tensor,
           empty: torch.Tensor, strength: float) -> Predict:
    """Classifier-free guidance (Ho & Salimans 2022): away from what the empty caption gives, `strength` times as far.

    `velocity`: (seen, levels, context); context and empty (N, L, D). Both halves go through the network at once.
    """
    both = torch.cat([empty, context])

    def predict(seen: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        without, with_caption = velocity(torch.cat([seen, seen]), torch.cat([levels, levels]), both).chunk(2)
        return without + strength * (with_caption - without)

    return predict
