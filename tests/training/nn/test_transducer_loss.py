"""The transducer loss against the sum over all paths, the textbook recursion, and finite differences."""

import itertools
import math

import pytest
import torch

from laptime.training.nn.transducer_loss import lattice, transducer_loss, transition_scores

CLASSES = 5  # the last is blank
FRAMES, LABELS = [4, 2, 1, 3], [[0, 3, 1], [2, 2], [], [1]]


def logits_of(frames, labels, seed=0, scale=1.0):
    rows = sum(t * (len(u) + 1) for t, u in zip(frames, labels, strict=True))
    return scale * torch.randn(rows, CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def losses_of(logits, frames, labels):
    cells = lattice(frames, labels)
    return transducer_loss(*transition_scores(logits, cells, slice(None)), cells)


def cubes(logits, frames, labels):
    """Log probabilities (T, U + 1, classes) of each sequence."""
    sizes = [t * (len(u) + 1) for t, u in zip(frames, labels, strict=True)]
    parts = logits.log_softmax(1).split(sizes)
    return [part.reshape(t, len(u) + 1, CLASSES) for part, t, u in zip(parts, frames, labels, strict=True)]


def by_enumeration(cube, labels):
    """The log of the sum of the probabilities of every order of T - 1 blanks and U labels, then the last blank."""
    frames, total = cube.shape[0], 0.0
    for emitting in itertools.combinations(range(frames - 1 + len(labels)), len(labels)):
        t = u = 0
        score = 0.0
        for step in range(frames - 1 + len(labels)):
            if step in emitting:
                score, u = score + float(cube[t, u, labels[u]]), u + 1
            else:
                score, t = score + float(cube[t, u, -1]), t + 1
        total += math.exp(score + float(cube[t, u, -1]))
    return -math.log(total)


def by_recursion(cube, labels):
    """Graves 2012, equation 16, cell by cell, on tensors through which gradients flow."""
    alpha = {(0, 0): cube.new_zeros(())}
    for t, u in itertools.product(range(cube.shape[0]), range(len(labels) + 1)):
        terms = [alpha[t - 1, u] + cube[t - 1, u, -1]] if t else []
        terms += [alpha[t, u - 1] + cube[t, u - 1, labels[u - 1]]] if u else []
        if terms:
            alpha[t, u] = torch.stack(terms).logsumexp(0)
    t, u = cube.shape[0] - 1, len(labels)
    return -(alpha[t, u] + cube[t, u, -1])


def test_loss_equals_the_sum_over_all_paths():
    logits = logits_of(FRAMES, LABELS)
    expected = [by_enumeration(*pair) for pair in zip(cubes(logits, FRAMES, LABELS), LABELS, strict=True)]
    assert losses_of(logits, FRAMES, LABELS).tolist() == pytest.approx(expected, rel=1e-12)


def test_loss_and_gradient_equal_the_plain_recursion():
    frames, labels = [9, 5, 7], [[0, 1, 2, 3], [3, 3, 3, 3, 3, 3], [1]]
    ours, theirs = (logits_of(frames, labels, 1, 3.0).requires_grad_() for _ in range(2))
    weights = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    found = losses_of(ours, frames, labels)
    expected = torch.stack([by_recursion(*pair) for pair in zip(cubes(theirs, frames, labels), labels, strict=True)])
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.allclose(found, expected, rtol=1e-12)
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-10, atol=1e-14)


def test_gradient_equals_finite_differences():
    logits = logits_of(FRAMES, LABELS).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses_of(x, FRAMES, LABELS), (logits,))


def test_posteriors_of_the_paths_of_a_sequence_sum_to_its_steps():
    cells = lattice(FRAMES, LABELS)
    blank, label = (one.detach().requires_grad_() for one in transition_scores(logits_of(FRAMES, LABELS), cells, slice(None)))
    transducer_loss(blank, label, cells).sum().backward()
    per_sequence = torch.zeros(4, dtype=torch.float64).index_add(0, cells.sequence, -blank.grad)
    assert per_sequence.tolist() == pytest.approx(FRAMES)
    assert torch.zeros(4, dtype=torch.float64).index_add(0, cells.sequence, -label.grad).tolist() == pytest.approx([3, 2, 0, 1])


def test_loss_in_float32_stays_near_float64_on_long_sequences():
    frames, labels = [200], [[i % 4 for i in range(80)]]
    logits = logits_of(frames, labels, 2, 4.0)
    assert losses_of(logits.float(), frames, labels).item() == pytest.approx(losses_of(logits, frames, labels).item(), rel=1e-5)


def test_gradients_are_zero_or_normal_numbers():
    """Subnormal ones would slow down every product that they go into."""
    cells = lattice([150], [[1] * 60])
    blank, label = (torch.full((150 * 61,), -1.0, requires_grad=True) for _ in range(2))
    transducer_loss(blank, label, cells).sum().backward()
    for gradient in (blank.grad, label.grad):
        assert not ((gradient != 0) & (gradient.abs() < 1e-19)).any()
        assert (gradient == 0).any()
    assert label.grad.sum().item() == pytest.approx(-60, rel=1e-4)


def test_sequence_that_is_not_finite_makes_no_gradient_and_spoils_no_other():
    logits = logits_of([3, 3], [[1], [2]])
    logits[8] = math.nan  # of the second sequence
    logits.requires_grad_()
    losses = losses_of(logits, [3, 3], [[1], [2]])
    assert losses.isfinite().tolist() == [True, False]
    cells = lattice([3, 3], [[1], [2]])
    blank, label = (one.detach().requires_grad_() for one in transition_scores(logits, cells, slice(None)))
    transducer_loss(blank, label, cells).sum().backward()
    assert blank.grad.isfinite().all()
    assert label.grad[6:].eq(0).all()
    assert blank.grad[:6].ne(0).any()


def test_labels_beyond_a_sequence_do_not_matter():
    alone = losses_of(logits_of([2], [[1]], 5), [2], [[1]])
    both = torch.cat([logits_of([2], [[1]], 5), logits_of([4], [[0, 1, 2]], 6)])
    assert losses_of(both, [2, 4], [[1], [0, 1, 2]])[0].item() == pytest.approx(alone.item(), rel=1e-14)
