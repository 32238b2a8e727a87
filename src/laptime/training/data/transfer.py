"""Batches from the thread that makes them to the device that trains: pinned memory and a copy stream on CUDA."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sent:
    """Tensors on their way to the device; `arrived` is None where they are already there."""

    tensors: tuple[torch.Tensor, ...]
    arrived: torch.cuda.Event | None


class Transfer:
    """Copies to one device beside the computation. `send` in the making thread, `receive` in the training thread."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @property
    def pinned(self) -> bool:
        """Whether host tensors should be made in pinned memory."""
        return self._stream is not None

    def send(self, tensors: tuple[torch.Tensor, ...]) -> Sent:
        """Start the copy; memory layout is kept."""
        if self._stream is None:
            return Sent(tuple(tensor.to(self.device) for tensor in tensors), None)
        with torch.cuda.stream(self._stream):
            copies = tuple(tensor.pin_memory().to(self.device, non_blocking=True) for tensor in tensors)
            arrived = torch.cuda.Event()
            arrived.record(self._stream)
        return Sent(copies, arrived)

    def receive(self, sent: Sent) -> tuple[torch.Tensor, ...]:
        """The tensors, usable by the current stream; the host does not wait."""
        if sent.arrived is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(sent.arrived)
            for tensor in sent.tensors:
                tensor.record_stream(current)
        return sent.tensors
