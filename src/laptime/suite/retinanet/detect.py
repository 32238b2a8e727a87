"""From the network's output to detections, and their average precision over the evaluation set.

Per level the best (anchor, class) pairs above a score; decoded and cut at the image's edges; all levels together
suppressed class by class; the best per image (Lin et al. 2017, section 4; numbers of the reference in `config.py`).
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from laptime.benchmark import Context
from laptime.config import Speed
from laptime.suite.retinanet.config import DetectionConfig, RetinaNetConfig
from laptime.suite.retinanet.data import EvalBatch, EvalBatches, synthetic_images
from laptime.suite.retinanet.model import Levels, RetinaNet
from laptime.suite.retinanet.published import Boxes
from laptime.suite.retinanet.reader import Pictures, read_boxes
from laptime.training.data.sampler import Indices
from laptime.training.metrics.coco import BoxAP, FoundBoxes, TrueBoxes
from laptime.training.nn.boxes import Candidates, clipped, decode, suppressed
from laptime.training.speed import Precision


def detections(scores: Levels, deltas: Levels, anchors: list[torch.Tensor], config: DetectionConfig,
               size: int) -> Candidates:
    """Detections of N images, at most `config.per_image` each, best first, in pixels of the size x size input."""
    levels = [_level(*level, config, size) for level in zip(scores, deltas, anchors, strict=True)]
    found = levels[0]
    for level in levels[1:]:
        found = found.joined(level)
    return suppressed(found, overlap=config.overlap, keep=config.per_image)


def _level(scores: torch.Tensor, deltas: torch.Tensor, anchors: torch.Tensor, config: DetectionConfig,
           size: int) -> Candidates:
    """The best pairs of one level: scores (N, R, C), deltas (N, R, 4), anchors (R, 4)."""
    classes = scores.shape[2]
    flat = scores.to(torch.promote_types(scores.dtype, torch.float32)).flatten(1)
    best, index = flat.topk(min(config.per_level, flat.shape[1]))
    rows = index // classes
    boxes = decode(deltas.to(flat.dtype).take_along_dim(rows.unsqueeze(-1), 1), anchors[rows])
    probability = best.sigmoid()
    return Candidates(clipped(boxes, size, size), probability, index % classes, probability > config.score)


class APEvaluation:
    """Box average precision over the whole evaluation set (`loop.Evaluation`)."""

    def __init__(self, model: RetinaNet, config: RetinaNetConfig, ctx: Context, speed: Speed,
                 anchors: list[torch.Tensor]) -> None:
        self.model, self.config, self.ctx, self.anchors = model, config, ctx, anchors
        self.batches = EvalBatches(ctx.store, config, ctx.world)
        self.precision, self.channels_last = Precision.of(speed), speed.memory_format == "channels_last"
        self.outputs = torch.compile(model) if speed.compile == "step" else model
        self._truth: TrueBoxes | None = None

    def __call__(self) -> Mapping[str, float]:
        metric = BoxAP(self.ctx.world, self.truth(), self.config.model.classes)
        pictures = self.batches.pictures()
        for batch, found in self.found(self.batches):
            metric.add(on_originals(found, batch.samples, pictures, self.config.data.size))
        return {"eval_accuracy": metric.result()}

    def warm_up(self) -> None:
        images = synthetic_images(self.config, self.config.data.eval_batch_size, self.ctx.world)
        for _ in self.found([EvalBatch(images, np.arange(len(images)))]):
            pass

    def found(self, batches: Iterable[EvalBatch]) -> Iterable[tuple[EvalBatch, Candidates]]:
        """Each batch with its detections."""
        for batch in batches:
            yield batch, self._detected(batch.images)

    def truth(self) -> TrueBoxes:
        """The annotations of this rank's images, read on first use."""
        if self._truth is None:
            boxes = read_boxes(self.ctx.store, "eval", len(self.batches.pictures()))
            own = self.batches.own()
            mine = np.isin(boxes["image"], own)
            self._truth = true_boxes(boxes[mine])
        return self._truth

    @torch.no_grad()
    def _detected(self, images: torch.Tensor) -> Candidates:
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        with torch.autocast(self.ctx.world.device.type, dtype=self.precision.autocast,
                            enabled=self.precision.autocast is not None):
            scores, deltas = self.outputs(images.to(dtype=self.precision.parameters, memory_format=layout))
        return detections(scores, deltas, self.anchors, self.config.detection, self.config.data.size)


def true_boxes(boxes: Boxes) -> TrueBoxes:
    """Annotations as the metric takes them."""
    sides = np.stack([boxes[name] for name in ("x", "y", "width", "height")], 1)
    return TrueBoxes(boxes["image"].astype(np.int64), boxes["label"].astype(np.int64), sides,
                     boxes["crowd"].astype(bool))


def on_originals(found: Candidates, samples: Indices, pictures: Pictures, size: int) -> FoundBoxes:
    """Detections of the first len(samples) rows, in pixels of the original images."""
    valid = found.valid[:len(samples)].cpu().numpy()
    row = np.nonzero(valid)[0]
    boxes = found.boxes[:len(samples)].float().cpu().numpy()[valid]
    image = samples[row]
    scale = np.stack([pictures.widths[image], pictures.heights[image]], 1).astype(np.float32) / np.float32(size)
    boxes *= np.tile(scale, 2)
    boxes[:, 2:] -= boxes[:, :2]
    return FoundBoxes(image, found.labels[:len(samples)].cpu().numpy()[valid],
                      found.scores[:len(samples)].cpu().numpy()[valid].astype(np.float64), boxes.astype(np.float64))
