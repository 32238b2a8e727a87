"""Stochastic gradient descent with momentum: both forms of `momentum.move`, no Nesterov, L2 term in the gradient."""

from laptime.training.optim.momentum import Form, Momentum, Parameters, Tensors, decayed


class SGD(Momentum):
    """d = g + weight_decay * w, then `momentum.move`. Groups may override `weight_decay`."""

    def __init__(self, parameters: Parameters, *, learning_rate: float = 0.0, momentum: float = 0.9,
                 weight_decay: float = 0.0, form: Form = "inside", compiled: bool = False) -> None:
        super().__init__(parameters, {"momentum": momentum, "weight_decay": weight_decay, "form": form},
                         learning_rate=learning_rate, compiled=compiled)

    def directions(self, group: dict, weights: Tensors, gradients: Tensors) -> Tensors:
        return decayed(gradients, weights, group["weight_decay"])
