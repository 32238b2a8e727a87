"""Tables as text at fixed width, numbers and times."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.cli.terminal import Column, clock, heading, minutes, say, style, table

COLUMNS = (Column("name"), Column("time [min]", right=True))


def plain(text: str) -> str:
    return click.unstyle(text)


def test_table_aligns_numbers_to_the_right():
    assert plain(table(COLUMNS, [("a", "1.25"), ("long name", "10.50")], None)) == (
        "name       time [min]\n"
        "a                1.25\n"
        "long name       10.50")


def test_table_wraps_the_widest_column_at_a_fixed_width():
    rows = [("one", "a sentence that is much too long for the line"), ("two", "short")]
    assert plain(table((Column("key"), Column("text")), rows, 24)) == (
        "key  text\n"
        "one  a sentence that is\n"
        "     much too long for\n"
        "     the line\n"
        "two  short")


def test_table_without_rows_is_its_heading():
    assert plain(table(COLUMNS, [], 80)) == "name  time [min]"


@given(st.lists(st.tuples(st.text("abc ", max_size=40), st.text("abc ", max_size=40)), max_size=5), st.integers(30, 90))
def test_table_never_exceeds_its_width(rows, limit):
    text = plain(table((Column("x"), Column("y")), rows, limit))
    assert max(map(len, text.splitlines())) <= limit


@pytest.mark.parametrize(("seconds", "expected"), [(0, "0:00"), (65.4, "1:05"), (3599.6, "1:00:00"), (7389, "2:03:09")])
def test_clock_shows_hours_only_where_there_are_some(seconds, expected):
    assert clock(seconds) == expected


def test_minutes_have_a_unit():
    assert minutes(91.2) == "1.52 min"


HOSTILE = "\x1b]0;title\x07\x1b[2J\u202e\x9b\udc80"
ESCAPED = r"\x1b]0;title\x07\x1b[2J\u202e\x9b\udc80"


def test_say_lets_no_control_characters_through(capsys):
    say(f"first {HOSTILE}\nsecond\r\t\x00")
    assert capsys.readouterr().out == f"first {ESCAPED}\nsecond\\r\\t\\x00\n"


@pytest.mark.parametrize("made", [heading(HOSTILE), style(HOSTILE, "red"), table((Column("x"),), [(HOSTILE,)], None)])
def test_styled_text_and_cells_hold_no_control_characters(made):
    assert ESCAPED in plain(made)
    assert all(sign.isprintable() or sign == "\n" for sign in plain(made))


def test_colours_of_a_log_are_escaped_in_cells_and_headings():
    assert plain(heading("\x1b[31mred")) == r"\x1b[31mred"
    assert r"\x1b[31mred" in plain(table((Column("x"),), [("\x1b[31mred",)], None))


def test_say_keeps_our_own_styles(monkeypatch):
    shown = []
    monkeypatch.setattr(click, "echo", shown.append)
    text = f"{heading('a')} {style('b', 'red')} {style('c', 'yellow')} {style('d', 'cyan')}"
    say(text)
    assert shown == [text]
    assert shown[0].count("\x1b[") == 8
