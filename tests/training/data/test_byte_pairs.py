"""Byte-pair encoding: against a naive writing of the algorithm, and back to text."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.errors import DataProblem
from laptime.training.data.byte_pairs import BYTES, DIGITS, WORDS, BytePairs, learnt

TEXTS = ["the cat sat on the mat, the cat 1842 sat", "a hat on a mat in 1841"]


@given(st.text(max_size=40), st.sampled_from([WORDS, DIGITS]), st.sampled_from([0, 3]))
def test_every_text_comes_back(text, pattern, first):
    tokenizer = learnt(TEXTS, first + BYTES + 6, pattern=pattern, first=first)
    ids = tokenizer(text)
    assert tokenizer.text(ids) == text
    assert all(first <= number < len(tokenizer) for number in ids)


def test_the_most_frequent_pair_is_merged_first_and_the_smaller_of_equals():
    tokenizer = learnt(["ab ab ab cd cd"], BYTES + 2, pattern=r"\w+|(?s:.)")
    assert tokenizer.merges == [(ord("a"), ord("b")), (ord("c"), ord("d"))]
    equal = learnt(["cd ab"], BYTES + 1, pattern=r"\w+|(?s:.)")
    assert equal.merges == [(ord("a"), ord("b"))]


def test_encoding_merges_in_the_order_learnt():
    tokenizer = learnt(TEXTS, BYTES + 20)
    for word in (" cat", " sat", "the", " 1842", " that"):
        ids = list(word.encode())
        for number, pair in enumerate(tokenizer.merges, BYTES):
            while pair in pairwise(ids):
                at = list(pairwise(ids)).index(pair)
                ids[at:at + 2] = [number]
        assert tokenizer(word) == ids


def test_equal_letters_are_merged_from_the_left():
    assert BytePairs([(97, 97)])("aaa") == [BYTES, 97]


def test_patterns_make_different_pieces():
    texts = ["in 18 in 18 in 18"]
    assert learnt(texts, BYTES + 2)(" 18") == [BYTES, ord("8")]
    assert learnt(texts, BYTES + 1, pattern=DIGITS)(" in18") == [32, BYTES, ord("1"), ord("8")]


def test_too_little_text_is_refused():
    with pytest.raises(DataProblem, match="makes 300 token ids, found 257"):
        learnt(["ab"], 300)
    with pytest.raises(DataProblem, match="makes 100 token ids, found 256"):
        learnt(["ab"], 100)
