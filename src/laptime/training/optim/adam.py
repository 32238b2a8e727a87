"""Adam (Kingma & Ba 2014, algorithm 1): the rate is a 0-D tensor, moments exist from the start, nothing synchronises.

m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  w <- w - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)
The gradient g has `weight_decay` times w added (an L2 term) unless the decay is decoupled (`AdamW`). The update itself
is torch's, in one pass over the tensors where the device has it.
"""

import torch

from laptime.training.optim.momentum import Parameters

ONE_PASS = ("cpu", "cuda")  # devices for which torch has the fused update


class Adam(torch.optim.Adam):
    """`rate` is the learning rate of all groups. Groups may override `betas`, `eps` and `weight_decay`."""

    def __init__(self, parameters: Parameters, *, learning_rate: float = 0.0, betas: tuple[float, float] = (0.9, 0.999),
                 epsilon: float = 1e-8, weight_decay: float = 0.0, decoupled: bool = False) -> None:
        super().__init__(parameters, lr=learning_rate, betas=betas, eps=epsilon, weight_decay=weight_decay,
                         foreach=False, decoupled_weight_decay=decoupled)
        first: torch.Tensor = self.param_groups[0]["params"][0]
        self.rate = torch.tensor(learning_rate, dtype=first.dtype, device=first.device)
        for group in self.param_groups:
            group["lr"], group["fused"] = self.rate, first.device.type in ONE_PASS
            for parameter in group["params"]:
                self.state[parameter] = {
                    "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
