"""Data as scripts: nothing that was submitted can end the script, and what is decoded is what was stored."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.dashboard.embed import as_code, columns, script, short

PARTS = ("</script>", "<!--", "]]>", "\u2028", "\u2029", "\u202e", "\x7f", "&lt;", "'", '"', "\\", "\n")


@pytest.mark.parametrize("part", PARTS)
def test_code_holds_no_sign_that_a_parser_obeys(part):
    code = as_code({part: [part]})
    assert not set("<>&\u2028\u2029\u202e\x7f") & set(code)
    assert "\n" not in code
    assert json.loads(code) == {part: [part]}


@given(st.recursive(st.none() | st.booleans() | st.integers(-2**52, 2**52) | st.text(st.characters(exclude_categories=("Cs",))),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner)))
def test_code_reads_back_as_the_value(value):
    assert json.loads(as_code(value)) == value


def test_numbers_keep_nine_digits_and_whole_ones_no_point():
    assert [short(value) for value in (1 / 3, 12.0, 1e300, 123456789.25)] == [0.333333333, 12, 1e300, 123456789]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_none(value):
    assert as_code(value) == "null"


def test_lone_surrogates_do_not_stop_an_export():
    assert as_code("a\ud800b") == '"a?b"'


def test_script_is_one_call():
    assert script("entry", "1f", {"a": 1}) == 'Laptime.receive("entry", "1f", {"a":1});\n'


def test_repeated_texts_become_a_dictionary():
    found = columns(("name", "minutes"), [("a", 1), ("b", 2.5), ("a", None), (None, 4), ("a", 5)])
    assert found == {"name": {"words": ["a", "b"], "codes": [0, 1, 0, -1, 0]}, "minutes": {"values": [1, 2.5, None, 4, 5]}}


def test_no_rows_are_columns_without_values():
    assert columns(("a", "b"), []) == {"a": {"values": []}, "b": {"values": []}}
