"""Windows of tokens against a walk over documents, token by token, written from the description of the format."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laptime.errors import DataProblem
from laptime.training.data.token_files import TokenFile, kind_for, pair, write_tokens
from laptime.training.data.token_windows import (
    IGNORED,
    IN_ORDER,
    Form,
    Indices,
    Windows,
    blend,
    inputs_and_labels,
    sample_index,
)


def file_of(folder, documents):
    write_tokens(folder, "c4", documents, kind_for(1000))
    return TokenFile.load(*pair(folder, "c4"))


def walked(sizes, documents, form, samples):
    """The published index builder: from document to document, as many tokens as a sample has."""
    found, place, offset = [(0, 0)], 0, 0
    for _ in range(samples):
        left = form.length + form.extra
        while left:
            here = sizes[documents[place]] - offset
            left -= here
            if left <= 0:
                offset += left + here - form.extra
                left = 0
            else:
                place, offset = place + 1, 0
        found.append((place, offset))
    return found


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12), length=st.integers(1, 6), extra=st.sampled_from([0, 1]),
       seed=st.integers(0, 1000))
def test_sample_index_is_that_of_a_walk_over_documents(sizes, length, extra, seed):
    form, documents = Form(length, extra), np.random.RandomState(seed).permutation(len(sizes)).astype(np.int32)
    samples = form.samples_in(sum(sizes))
    assert samples == max(0, (sum(sizes) - extra) // length)
    found = sample_index(np.array(sizes, np.int32), documents, form)
    assert [tuple(row) for row in found.tolist()] == walked(sizes, documents, form, samples)


@pytest.mark.parametrize("extra", [0, 1])
def test_samples_are_the_documents_back_to_back(tmp_path, extra):
    documents = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [10, 11]]
    tokens, form = file_of(tmp_path, documents), Form(3, extra)
    indices = Indices.of(tokens.sizes, form, shuffler=np.random.RandomState(3))
    stream = [value for place in indices.documents for value in documents[place]]
    windows = Windows(tokens, indices, form)
    assert len(windows) == 3
    assert sorted(indices.documents) == [0, 1, 2, 3]
    for sample, number in enumerate(indices.order):
        assert windows[sample].tolist() == stream[3 * number:3 * number + 3 + extra]


def test_in_order_nothing_is_shuffled(tmp_path):
    tokens, form = file_of(tmp_path, [[1, 2, 3], [4], [5, 6, 7, 8, 9]]), Form(4)
    windows = Windows(tokens, Indices.of(tokens.sizes, form, shuffler=np.random.RandomState(3), shuffled=IN_ORDER), form)
    assert [one.tolist() for one in windows] == [[1, 2, 3, 4, 5], [5, 6, 7, 8, 9]]


def test_several_passes_are_shuffled_together_and_a_little_used_last_one_apart():
    sizes, form = np.full(50, 10, np.int32), Form(10, 0)
    most = Indices.of(sizes, form, samples=145, shuffler=np.random.RandomState(1))
    assert len(most) == 150
    assert sorted(most.documents[:100]) != sorted([*range(50)] * 2)
    little = Indices.of(sizes, form, samples=120, shuffler=np.random.RandomState(1))
    assert sorted(little.documents[:100]) == sorted([*range(50)] * 2)
    assert sorted(little.documents[100:]) == [*range(50)]
    assert sorted(little.order[:100]) == [*range(100)]


def test_index_arrays_are_those_of_the_references_generator():
    """Shuffled in the order that the reference does it: documents first, then samples."""
    state, sizes = np.random.RandomState(1234), np.array([5, 2, 9, 4], np.int32)
    documents = np.arange(4, dtype=np.int32)
    state.shuffle(documents)
    order = np.arange(4)
    state.shuffle(order)
    found = Indices.of(sizes, Form(4), shuffler=np.random.RandomState(1234))
    assert found.documents.tolist() == documents.tolist()
    assert found.order.tolist() == order.tolist()


def test_no_whole_sample_is_refused():
    with pytest.raises(DataProblem, match="at least one sample of 6 tokens, found 5 tokens"):
        Indices.of(np.array([3, 2], np.int32), Form(5), shuffler=np.random.RandomState(0))


def test_labels_follow_inputs_in_both_forms():
    one = np.array([[1, 2, 3, 4]])
    inputs, labels = inputs_and_labels(one, Form(3, 1))
    assert (inputs.tolist(), labels.tolist()) == ([[1, 2, 3]], [[2, 3, 4]])
    inputs, labels = inputs_and_labels(one, Form(4, 0))
    assert (inputs.tolist(), labels.tolist()) == ([[1, 2, 3, 4]], [[2, 3, 4, IGNORED]])


def test_blend_keeps_every_share_and_begins_with_the_first_of_equals():
    assert list(islice(blend([0.5, 0.5]), 4)) == [(0, 0), (1, 0), (0, 1), (1, 1)]
    taken = [part for part, _ in islice(blend([3, 1, 1]), 500)]
    assert [taken.count(part) for part in range(3)] == [300, 100, 100]
