"""AdamW (Loshchilov & Hutter 2017, algorithm 2): `Adam` whose decay acts on the weights, not through the gradient.

w <- w (1 - rate decay);  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;
w <- w - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon). The update itself is torch's.
"""

from laptime.training.optim.adam import Adam
from laptime.training.optim.momentum import Parameters


class AdamW(Adam):
    """`rate` is the learning rate of all groups. Groups may override `betas`, `eps` and `weight_decay`."""

    def __init__(self, parameters: Parameters, *, learning_rate: float = 0.0, betas: tuple[float, float] = (0.9, 0.999),
                 epsilon: float = 1e-8, weight_decay: float = 0.01) -> None:
        super().__init__(parameters, learning_rate=learning_rate, betas=betas, epsilon=epsilon,
                         weight_decay=weight_decay, decoupled=True)
