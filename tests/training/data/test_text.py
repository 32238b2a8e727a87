"""Generated articles: the same on every machine, different from key to key, and English in form."""

import hashlib

import pytest

from laptime.training.data.synth.text import KINDS, TEMPLATES, article, number_in_words


def test_text_is_the_same_everywhere():
    text = "\n".join(line for i in range(50) for line in article(7, i).sentences)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "ed03e97e09f2a971"


def test_articles_differ_and_every_kind_occurs():
    articles = [article(3, i) for i in range(60)]
    assert len({one.sentences for one in articles}) == 60
    assert article(3, 5) == articles[5] != article(4, 5)
    openings = {kind: TEMPLATES[kind][0].split("{")[0] for kind in KINDS}
    assert len(openings) == 5


def test_sentences_are_whole_and_speak_of_their_title():
    for i in range(100):
        one = article(9, i)
        assert 6 <= len(one.sentences) <= 13
        assert one.title in one.sentences[0]
        for sentence in one.sentences:
            assert sentence[0].isupper()
            assert sentence.endswith(".")
            assert "{" not in sentence


@pytest.mark.parametrize(("number", "words"), [(0, "zero"), (13, "thirteen"), (20, "twenty"), (42, "forty-two"),
                                               (100, "one hundred"), (105, "one hundred and five"), (999, "nine hundred and ninety-nine")])
def test_numbers_are_written_as_words(number, words):
    assert number_in_words(number) == words
