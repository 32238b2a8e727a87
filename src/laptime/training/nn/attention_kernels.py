"""Attention that also tells the log-sum-exp of each row, so that pieces of it can be merged; and its backward pass.

torch's fused kernels where the device and dtype have them (flash attention on CUDA, in half precision; its counterpart
on the CPU), else the formulas written out. Legend: B samples, N heads, S rows, T keys, D width of a head.
"""

import math
from typing import NamedTuple, Protocol

import torch

FLASH = (torch.bfloat16, torch.float16)  # what flash attention on CUDA computes in
STEP = 8  # it wants widths that are multiples of this


class Inputs(NamedTuple):
    """q (B, N, S, D), k and v (B, N, T, D). `causal` (then S = T): row i sees keys up to i."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    causal: bool


class Output(NamedTuple):
    """Output (B, N, S, D), log-sum-exp of the scores (B, N, S)."""

    out: torch.Tensor
    logsumexp: torch.Tensor


Gradients = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # of q, k, v


class Kernel(Protocol):
    """Scores are divided by sqrt(D)."""

    def forward(self, inputs: Inputs) -> Output: ...

    def backward(self, gradient: torch.Tensor, inputs: Inputs, output: Output) -> Gradients:
        """`output`: of the rows over all their keys, of which those of `inputs` may be a part."""


class Plain:
    """The formulas: any device, any dtype, S x T scores in memory."""

    def forward(self, inputs: Inputs) -> Output:
        scores = _scores(inputs)
        logsumexp = scores.logsumexp(-1)
        weights = (scores - logsumexp.unsqueeze(-1)).exp().to(inputs.v.dtype)
        return Output(weights @ inputs.v, logsumexp)

    def backward(self, gradient: torch.Tensor, inputs: Inputs, output: Output) -> Gradients:
        q, k, v, _ = inputs
        weights = (_scores(inputs) - output.logsumexp.unsqueeze(-1)).exp().to(q.dtype)
        of_weights = gradient @ v.mT - (gradient * output.out).sum(-1, keepdim=True)
        of_scores = weights * of_weights / math.sqrt(q.shape[-1])
        return of_scores @ k, of_scores.mT @ q, weights.mT @ gradient


class Cpu:
    """torch's fused attention of the CPU."""

    def forward(self, inputs: Inputs) -> Output:
        q, k, v, causal = inputs
        return Output(*torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal))

    def backward(self, gradient: torch.Tensor, inputs: Inputs, output: Output) -> Gradients:
        q, k, v, causal = inputs
        of_q, of_k, of_v = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            gradient, q, k, v, *output, 0.0, causal)
        return of_q, of_k, of_v


class Cuda:
    """Flash attention on CUDA. There is no dropout: its random state is of no account."""

    def forward(self, inputs: Inputs) -> Output:
        q, k, v, causal = inputs
        out, logsumexp, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal)
        return Output(out, logsumexp)

    def backward(self, gradient: torch.Tensor, inputs: Inputs, output: Output) -> Gradients:
        q, k, v, causal = inputs
        none = torch.zeros((), dtype=torch.int64, device=q.device)
        of_q, of_k, of_v = torch.ops.aten._scaled_dot_product_flash_attention_backward(
            gradient, q, k, v, *output, None, None, q.shape[2], k.shape[2], 0.0, causal, none, none)
        return of_q, of_k, of_v


def kernel_for(q: torch.Tensor) -> Kernel:
    """The fastest that can compute on tensors like q."""
    if q.device.type == "cuda" and q.dtype in FLASH and q.shape[-1] % STEP == 0:
        return Cuda()
    return Cpu() if q.device.type == "cpu" else Plain()


def _scores(inputs: Inputs) -> torch.Tensor:
    """(B, N, S, T), at least float32."""
    scores = inputs.q @ inputs.k.mT
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) / math.sqrt(inputs.q.shape[-1])
    if not inputs.causal:
        return scores
    return scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
