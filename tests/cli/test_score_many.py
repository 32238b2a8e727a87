"""score of many results: a compact table, labels of uncertainty, and a summary only with the user's own weights."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import write_result

from laptime.scoring.weighted import weighted_geometric_mean


@pytest.fixture
def many(tmp_path):
    for number in range(7):
        write_result(tmp_path, "acme", system=f"s{number}", minutes=10 + number, first_seed=10 * number)
    return tmp_path / "v4.0"


def test_many_results_are_a_table_of_rows(run, many):
    out = run("score", many).out
    assert "7 of 7 results with a score" in out
    (line,) = [line for line in out.splitlines() if line.startswith("acme") and " s3 " in line]
    assert line.split()[2:6] == ["resnet", "15.07", "2.5", "%"]  # (14 + 15 + 16) / 3 times the factor


def test_long_tells_each_story_of_many(run, many):
    assert run("score", many, "--long").out.count("Left out:") == 7


def test_a_score_carries_the_label_of_uncertainty(run, folder):
    assert "good to about 2.5 % either way" in run("score", folder()).out


def test_no_summary_is_given_unless_asked(run, many):
    assert "weighted" not in run("score", many).out.lower()


def test_weights_give_a_mean_per_system_and_say_whose_it_is(run, many):
    out = run("score", many, "--weights", "resnet=2").out
    assert "nobody's official number" in out
    (line,) = [line for line in out.splitlines() if line.startswith("v4.0") and " s3 " in line]
    assert line.split()[-1] == "15.07"


@pytest.mark.parametrize(("name", "content"), [("w.toml", "resnet = 1"), ("w.json", '{"resnet": 1}')])
def test_weights_come_from_a_file(run, folder, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    found = json.loads(run("score", folder(), "--weights", tmp_path / name, "--json").out)
    assert found["weighted"][0]["minutes"] == pytest.approx(found["results"][0]["score"]["normalised_minutes"])


@pytest.mark.parametrize(("weights", "words"), [
    ("resnte=1", "Did you mean 'resnet'"), ("resnet=x", "weight of at least 0"), ("resnet=-1", "weight of at least 0"),
    ("resnet=nan", "weight of at least 0"), ("resnet=0", "positive weight"), ("none.toml", "cannot read weights")])
def test_weights_that_cannot_be_are_refused_in_a_line(run, folder, weights, words):
    answer = run("score", folder(), "--weights", weights)
    assert answer.code == 2
    assert words.lower() in answer.err.lower()


def test_a_system_without_a_score_has_no_mean(run, folder):
    assert "no score for resnet" in run("score", folder([60]), "--weights", "resnet=1").out


def test_weighted_geometric_mean_by_hand():
    assert weighted_geometric_mean({"a": 2, "b": 8}, {"a": 1, "b": 1}) == pytest.approx(4)
    assert weighted_geometric_mean({"a": 2, "b": 8}, {"a": 2, "b": 1}) == pytest.approx(32 ** (1 / 3))


@given(st.lists(st.tuples(st.floats(0.1, 1e4), st.floats(0.1, 10)), min_size=1, max_size=6), st.floats(0.1, 10))
def test_weighted_geometric_mean_scales_with_times_and_not_with_weights(pairs, factor):
    values = {str(place): value for place, (value, _) in enumerate(pairs)}
    weights = {str(place): weight for place, (_, weight) in enumerate(pairs)}
    mean = weighted_geometric_mean(values, weights)
    assert min(values.values()) * 0.999 <= mean <= max(values.values()) * 1.001
    assert weighted_geometric_mean({name: factor * value for name, value in values.items()}, weights) == pytest.approx(factor * mean)
    assert weighted_geometric_mean(values, {name: factor * weight for name, weight in weights.items()}) == pytest.approx(mean)


@pytest.mark.parametrize(("values", "weights"), [({}, {"a": 1}), ({"a": 1}, {}), ({"a": 1}, {"a": 0}), ({"a": 1}, {"a": -1}), ({"a": 0}, {"a": 1})])
def test_weighted_geometric_mean_of_nothing_is_refused(values, weights):
    with pytest.raises(ValueError, match=r"\w"):
        weighted_geometric_mean(values, weights)
