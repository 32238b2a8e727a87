"""Articles as lines of JSON."""

import json

import pytest

from laptime.errors import DataProblem
from laptime.training.data.synth.corpus import texts, write_corpus
from laptime.training.data.synth.text import article


def test_documents_are_the_articles_with_their_titles(tmp_path):
    write_corpus(tmp_path / "c4.json", 7, [3, 5])
    lines = [json.loads(line) for line in (tmp_path / "c4.json").read_text().splitlines()]
    assert [line["url"] for line in lines] == ["https://example.org/7/3", "https://example.org/7/5"]
    assert list(texts(tmp_path / "c4.json")) == ["\n".join((one.title, *one.sentences)) for one in (article(7, 3), article(7, 5))]


@pytest.mark.parametrize("line", ["{", "[]", '{"url": "x"}', '{"text": 3}'])
def test_a_line_without_a_text_is_named(tmp_path, line):
    (tmp_path / "c4.json").write_text('{"text": "a"}\n' + line + "\n")
    with pytest.raises(DataProblem, match=r"with a text in line 2 of .*c4\.json, found none"):
        list(texts(tmp_path / "c4.json"))
