"""Reports are what they say: well-formed, self-contained, and without a way for hostile names to act."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from laptime.submission.document import Bullets, Heading, Paragraph, Scale, Table, markdown, page

HOSTILE = '<script>alert(1)</script>"\'&\x1b[31m\x00|`*_[x](http://evil)\n# boo'
VOID = {"meta", "link", "br", "img"}
BLOCKS = [Heading(1, HOSTILE), Heading(2, HOSTILE), Paragraph(HOSTILE), Bullets((HOSTILE, "b")),
          Table((HOSTILE, "n"), ((HOSTILE, "1"), ("c", HOSTILE)), frozenset({1}), frozenset({0})),
          Scale(HOSTILE, (1, 2), ((HOSTILE, 1.5),), ((HOSTILE, (1, 2, 3)),))]


class Checker(HTMLParser):
    """Collects tags, attributes and text, and that tags close in order."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.words = [], set(), [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def checked():
    checker = Checker()
    checker.feed(page("t", BLOCKS))
    return checker


def test_page_is_well_formed(checked):
    assert checked.open == []
    assert {"table", "svg", "nav", "h1", "h2", "ul", "figure"} <= checked.tags


def test_page_holds_no_script_and_nothing_from_outside(checked):
    assert "script" not in checked.tags
    assert not {name for name, _ in checked.attributes} & {"src", "onload", "onclick", "onerror"}
    assert all(value.startswith("#") for name, value in checked.attributes if name == "href")
    assert any("default-src 'none'" in str(value) for name, value in checked.attributes if name == "content")


def test_page_shows_hostile_names_as_text(checked):
    assert "<script>alert(1)</script>" in "".join(checked.words)
    assert "\x1b" not in "".join(checked.words)


def test_drawing_is_xml_with_a_dot_for_each_value():
    drawing = re.search(r"<svg.*?</svg>", page("t", BLOCKS), re.S)[0]
    root = ElementTree.fromstring(drawing)
    assert len(root.findall("circle")) == 3
    assert all(0 <= float(dot.get("cx")) <= 760 for dot in root.findall("circle"))


def test_drawing_of_equal_values_and_of_none_is_no_error():
    assert "<circle" in page("t", [Scale("s", None, (), (("a", (5.0, 5.0)),))])
    assert "<svg" not in page("t", [Scale("s", None, (), ())])


def test_markdown_keeps_rows_on_a_line_and_makes_no_markup_of_names():
    said = markdown(BLOCKS)
    rows = [line for line in said.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
    assert "\n# boo" not in said
    assert not re.search(r"(?<!\\)<", said)
    assert "http://" not in said


@pytest.mark.parametrize(("text", "said"), [
    ("snake_case", "snake_case"), ("_x_", "\\_x\\_"), ("# x", "\\# x"), ("1. x", "1\\. x"), ("12) x", "12\\) x"), ("1.5 x", "1\\.5 x"), ("15 x", "15 x"), ("- x", "\\- x"), ("a # b", "a # b")])
def test_markdown_escapes_only_what_it_must(text, said):
    assert markdown([Paragraph(text)]) == said + "\n"
