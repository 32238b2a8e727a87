"""Ranges of rounds: membership, order, and ends that are no rounds."""

import pytest

from laptime.errors import UserError
from laptime.rules import ranges

KNOWN = ("v0.5", "v0.6", "v1.0", "v9.1", "v10.0", "house-1", "mini-1", "mini-2", "mini-10")


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("v0.6..v9.1", {"v0.6", "v1.0", "v9.1"}, {"v0.5", "v10.0", "mini-1"}),
        ("v9.1..v10.0", {"v9.1", "v10.0"}, {"v1.0"}),
        ("v0.5", {"v0.5"}, {"v0.6"}),
        ("v0.5 v1.0..v9.1 house-1", {"v0.5", "v1.0", "v9.1", "house-1"}, {"v0.6", "v10.0", "mini-1"}),
        ("mini-1..mini-10", {"mini-1", "mini-2", "mini-10"}, {"house-1", "v0.5"}),
    ],
)
def test_membership_of_ranges(text, inside, outside):
    held = ranges.parse(text, KNOWN, "file")
    assert {name for name in KNOWN if name in held} & (inside | outside) == inside


def test_something_that_is_no_round_is_in_no_range():
    assert "common" not in ranges.parse("v0.5..v10.0", KNOWN, "file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("v0.6..", "unknown round ''"),
        ("..v0.6", "unknown round ''"),
        ("v0.6..v9.2", "unknown round 'v9.2' in 'v0.6..v9.2', field 'in'. Did you mean 'v9.1'?"),
        ("v1.0..v0.6", "from earlier to later"),
        ("v1.0..mini-1", "from earlier to later"),
        ("house-1..mini-1", "from earlier to later"),
        ("", "expected rounds or ranges"),
    ],
)
def test_bad_range_names_file_and_field(text, words):
    with pytest.raises(UserError) as caught:
        ranges.parse(text, KNOWN, "resnet/rules.toml, [[keys]] number 3")
    assert str(caught.value).startswith("resnet/rules.toml, [[keys]] number 3: ")
    assert words in str(caught.value)


def test_order_is_by_number_not_by_text():
    assert sorted(set(KNOWN), key=ranges.order) == list(KNOWN)
