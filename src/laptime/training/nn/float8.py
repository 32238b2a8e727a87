"""Linear layers whose three matrix products take eight-bit numbers (formats: Micikevicius et al. 2022).

Activations and weights become e4m3, gradients of outputs e5m2, each tensor after division by one power of two chosen
from its largest absolute value at that moment. Sums are float32; outputs and gradients of inputs are bfloat16, as under
autocast; gradients of weights keep the dtype of the weights. A power of two changes no digit, so what becomes of a
number does not depend on its neighbours, unless it is 2**13 times smaller than the largest one: micro-batches and parts
of a layer on several processes are rounded as the whole is. Letters: M rows, K inputs, N outputs.
"""

import torch
from torch.nn import functional as F

from laptime.errors import InvalidConfiguration
from laptime.training.distributed.layout import FLOAT8_MULTIPLE, expect_float8_sizes

FORWARD, BACKWARD = torch.float8_e4m3fn, torch.float8_e5m2  # Micikevicius et al. 2022, section 3
LARGEST = {FORWARD: 2.0**7, BACKWARD: 2.0**14}  # power of two the largest number is brought to: its double still fits
SMALLEST = 2.0**-112  # that a largest number is taken for: what it divides by, and one over that, are normal float32
EXPONENT = 0x7F800000  # bits of a float32


class Linear(torch.nn.Linear):
    """torch's layer, that can compute in float8. `float8` is written by `switch`."""

    float8 = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (..., K) -> (..., N)."""
        if not self.float8:
            return super().forward(x)
        y = self.product(x)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """Without the bias."""
        return product(x, self.weight) if self.float8 else F.linear(x, self.weight)


def switch(model: torch.nn.Module, *, on: bool) -> list[str]:
    """Let every `Linear` that is here of `model` (not on another stage) compute in float8, or not; their names.

    Raises InvalidConfiguration where there is none to let, or one of a size that cannot.
    """
    layers = {name: module for name, module in model.named_modules()
              if isinstance(module, Linear) and module._parameters["weight"] is not None}
    if on and not layers:
        raise InvalidConfiguration("expected a network with layers that compute in float8, found none",
                                   hint="Choose speed.dtype=bfloat16.")
    for name, layer in layers.items():
        if on:
            expect_float8_sizes(name, *reversed(layer.weight.shape))
        layer.float8 = on
    return list(layers)


def product(x: torch.Tensor, weight_NK: torch.Tensor) -> torch.Tensor:
    """x (..., K) times the transposed weight, computed in float8 -> (..., N) bfloat16.

    Rows are filled up with zeros to the multiple that the gradient's product asks for. An infinity or NaN anywhere
    makes all of the result NaN.
    """
    rows_MK = x.flatten(0, -2)
    count = len(rows_MK)
    if missing := -count % FLOAT8_MULTIPLE:
        rows_MK = F.pad(rows_MK, (0, 0, 0, missing))
    y_MN: torch.Tensor = Product.apply(rows_MK, weight_NK)
    return y_MN[:count].unflatten(0, x.shape[:-1])


class Product(torch.autograd.Function):
    """y = x W^T, dx = g W and dW = g^T x. Narrow x is kept; the weight itself, which is made narrow a second time."""

    @staticmethod
    def forward(ctx, x_MK, weight_NK):  # type: ignore[no-untyped-def]
        x_scale, weight_scale = scale(x_MK, FORWARD), scale(weight_NK, FORWARD)
        narrow_MK = narrow(x_MK, x_scale, FORWARD)
        wants_x, wants_weight = ctx.needs_input_grad
        ctx.save_for_backward(narrow_MK if wants_weight else None, x_scale, weight_NK if wants_x else None,
                              weight_scale)
        ctx.dtypes = x_MK.dtype, weight_NK.dtype
        return _product(narrow_MK, narrow(weight_NK, weight_scale, FORWARD), x_scale, weight_scale, torch.bfloat16,
                        quick=True)

    @staticmethod
    def backward(ctx, g_MN):  # type: ignore[no-untyped-def]
        x_MK, x_scale, weight_NK, weight_scale = ctx.saved_tensors
        x_dtype, weight_dtype = ctx.dtypes
        g_scale = scale(g_MN, BACKWARD)
        g_MN = narrow(g_MN, g_scale, BACKWARD)
        of_x = of_weight = None
        if weight_NK is not None:
            weight_NK = narrow(weight_NK, weight_scale, FORWARD)
            of_x = _product(g_MN, weight_NK.t().contiguous(), g_scale, weight_scale, torch.bfloat16).to(x_dtype)
        if x_MK is not None:
            wide = torch.float32 if weight_dtype is torch.float32 else torch.bfloat16
            of_weight = _product(g_MN.t().contiguous(), x_MK.t().contiguous(), g_scale, x_scale, wide).to(weight_dtype)
        return of_x, of_weight


def scale(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The power of two (0-D float32) that `x` is divided by before it becomes `dtype`; inf for infinity and NaN."""
    largest = x.detach().abs().amax().float()
    power = (largest.view(torch.int32) & EXPONENT).view(torch.float32)
    return power.clamp_min(SMALLEST) / LARGEST[dtype]


def narrow(x: torch.Tensor, divisor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """x / divisor, rounded to the nearest number of `dtype`; row by row in memory, as CUDA's products ask for."""
    return (x.float() * divisor.reciprocal()).to(dtype).contiguous()


def _product(a_MK: torch.Tensor, b_NK: torch.Tensor, a_scale: torch.Tensor,
             b_scale: torch.Tensor, dtype: torch.dtype, *, quick: bool = False) -> torch.Tensor:
    """a b^T. `quick`: sums may have fewer bits than float32 (Hopper's own way; the paper's for forward products)."""
    return torch._scaled_mm(a_MK, b_NK.t(), a_scale, b_scale, out_dtype=dtype, use_fast_accum=quick)
