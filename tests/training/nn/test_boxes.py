"""Box mathematics against loops over single boxes."""

import math

import pytest
import torch

from laptime.training.nn.boxes import (
    IGNORED,
    NEGATIVE,
    Candidates,
    clipped,
    decode,
    encode,
    match,
    mirrored,
    overlaps,
    suppressed,
)


def random_boxes(*shape, seed=0, reach=60.0):
    generator = torch.Generator().manual_seed(seed)
    corner = reach * torch.rand(*shape, 2, generator=generator, dtype=torch.float64)
    return torch.cat([corner, corner + 4 + 20 * torch.rand(*shape, 2, generator=generator, dtype=torch.float64)], -1)


def overlap_of(a, b):
    """Intersection over union of two lists of corners."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def test_overlaps_equal_a_loop():
    one, other = random_boxes(7), random_boxes(9, seed=1)
    expected = [[overlap_of(a, b) for b in other.tolist()] for a in one.tolist()]
    assert torch.allclose(overlaps(one, other), torch.tensor(expected, dtype=torch.float64), atol=1e-14)


def test_overlap_of_empty_boxes_is_zero():
    assert overlaps(torch.zeros(1, 4), torch.zeros(2, 4)).tolist() == [[0.0, 0.0]]


def match_by_loop(boxes, anchors, high, low):
    table = [[overlap_of(box, anchor) for anchor in anchors] for box in boxes]
    best = [max(range(len(boxes)), key=lambda g: (table[g][a], -g)) for a in range(len(anchors))]
    found = [g if table[g][a] >= high else NEGATIVE if table[g][a] < low else IGNORED for a, g in enumerate(best)]
    for row in table:
        for a, value in enumerate(row):
            if value == max(row):
                found[a] = best[a]
    return found


def test_match_equals_a_loop_and_padding_matches_nothing():
    boxes, anchors = random_boxes(3, 4), random_boxes(200, seed=5)
    counts = [4, 2, 1]
    valid = torch.arange(4) < torch.tensor(counts)[:, None]
    found = match(boxes, valid, anchors, high=0.5, low=0.3)
    for i, count in enumerate(counts):
        assert found[i].tolist() == match_by_loop(boxes[i, :count].tolist(), anchors.tolist(), 0.5, 0.3)
    assert {NEGATIVE, IGNORED, 0} <= set(found.flatten().tolist())


def test_an_image_without_boxes_has_negative_anchors_only():
    found = match(torch.zeros(1, 8, 4), torch.zeros(1, 8, dtype=torch.bool), random_boxes(5).float(), high=0.5, low=0.4)
    assert found.tolist() == [[NEGATIVE] * 5]


def test_anchors_that_tie_for_a_box_are_all_taken():
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [100, 100, 110, 110]])
    found = match(torch.tensor([[[5.0, 0, 25, 10]]]), torch.ones(1, 1, dtype=torch.bool), anchors, high=0.5, low=0.4)
    assert found.tolist() == [[0, 0, NEGATIVE]]


def test_code_of_a_box_is_shift_over_sides_and_log_of_ratio():
    code = encode(torch.tensor([10.0, 20, 30, 60]), torch.tensor([0.0, 0, 10, 20]))
    assert code.tolist() == pytest.approx([(20 - 5) / 10, (40 - 10) / 20, math.log(2), math.log(2)])


def test_decode_undoes_encode():
    boxes, anchors = random_boxes(50), random_boxes(50, seed=3)
    assert torch.allclose(decode(encode(boxes, anchors), anchors), boxes)


def test_code_of_padding_is_finite():
    assert encode(torch.zeros(2, 4), random_boxes(2).float()).isfinite().all()


def test_decoded_sides_are_clipped():
    box = decode(torch.tensor([0.0, 0, 50, 0]), torch.tensor([0.0, 0, 16, 16]))
    assert (box[2] - box[0]).item() == pytest.approx(1000)


def test_clip_and_mirror():
    box = torch.tensor([-5.0, 10, 30, 120])
    assert clipped(box, 20, 100).tolist() == [0, 10, 20, 100]
    assert mirrored(box, 100).tolist() == [70, 10, 105, 120]
    assert torch.equal(mirrored(mirrored(box, 100), 100), box)


def keep_by_loop(boxes, scores, labels, threshold):
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(labels[i] != labels[j] or overlap_of(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("keep", [10, 500])
@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_suppression_equals_a_loop(threshold, keep):
    generator = torch.Generator().manual_seed(1)
    boxes, scores = random_boxes(4, 150), torch.rand(4, 150, generator=generator)
    labels = torch.randint(3, (4, 150), generator=generator)
    valid = torch.rand(4, 150, generator=generator) < torch.tensor([[0.9], [0.0], [0.5], [0.02]])
    found = suppressed(Candidates(boxes, scores, labels, valid), overlap=threshold, keep=keep)
    for i in range(4):
        real = valid[i].nonzero().flatten()
        expected = real[keep_by_loop(boxes[i, real].tolist(), scores[i, real].tolist(), labels[i, real].tolist(), threshold)]
        assert torch.equal(found.boxes[i, found.valid[i]], boxes[i, expected[:keep]])
        assert torch.equal(found.labels[i, found.valid[i]], labels[i, expected[:keep]])


def test_suppression_at_overlap_one_removes_nothing():
    boxes = torch.ones(1, 1, 4).cumsum(2).expand(1, 6, 4)
    everything = Candidates(boxes, torch.rand(1, 6), torch.zeros(1, 6, dtype=torch.int64), torch.ones(1, 6, dtype=torch.bool))
    assert suppressed(everything, overlap=1.0, keep=9).valid.sum() == 6
    assert suppressed(everything, overlap=0.5, keep=9).valid.sum() == 1


def test_suppression_of_nothing_is_nothing():
    none = Candidates(torch.zeros(2, 3, 4), torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.bool))
    assert not suppressed(none, overlap=0.5, keep=2).valid.any()
