"""System descriptions and rounds as rows."""

import csv
from pathlib import Path

import pytest

from laptime.compliance.system_description import Description
from laptime.results.comparable import comparable_since
from laptime.results.systems import Hardware, as_text, of_groups, of_totals
from laptime.rules.load import load_round

FACTS = Path(__file__).parents[3] / "shared" / "facts" / "rules" / "rounds.csv"
OTHERWISE = {("rnnt", name) for name in ("v1.1", "v2.0", "v2.1", "v3.0", "v3.1")}  # bucketing, which rule data does not tell


def test_totals_count_all_nodes_whether_text_or_number():
    found = Description(Path(), {"number_of_nodes": "4", "host_processors_per_node": 2, "accelerators_per_node": "8.0",
                                 "host_processor_model_name": "CPU", "accelerator_model_name": "Chip"})
    assert of_totals(found) == Hardware(4, "CPU", 8, "Chip", 32)


@pytest.mark.parametrize("value", ["", "8x", "many", None, [8], True, -1, 10**30, 2.5])
def test_count_that_is_none_is_left_empty(value):
    assert of_totals(Description(Path(), {"number_of_nodes": value, "accelerators_per_node": 8})).accelerators is None


def test_groups_of_nodes_are_added_up():
    group = {"num_nodes": 36, "cpu": "2x CPU", "accelerator": "Chip", "num_accelerators": 16}
    assert of_groups([group]) == Hardware(36, "CPU", 72, "Chip", 576)
    assert of_groups([group, group]).nodes == 72


def test_count_that_a_name_ends_with_is_the_total_already():
    assert of_groups([{"num_nodes": 64, "cpu": "CPU", "accelerator": "pod-512", "num_accelerators": 512}]).accelerators == 512


@pytest.mark.parametrize("groups", [[], [1], [None], ["x"]])
def test_groups_that_are_none_are_left_empty(groups):
    assert of_groups(groups) == Hardware()


def test_description_is_kept_whole_up_to_a_bound():
    assert as_text({"a": 1, "b": {"c": [None]}}) == '{"a":1,"b":{"c":[null]}}'
    assert len(as_text({str(n): "x" * 1000 for n in range(100)})) <= 20_000
    assert as_text({"n": 10**400}).startswith('{"n":"1000')


@pytest.mark.skipif(not FACTS.exists(), reason="the tables of facts are not at hand")
def test_rounds_compare_as_the_facts_say():
    differing = set()
    for row in csv.DictReader(FACTS.read_text().splitlines()):
        round_ = load_round(row["round"])
        folder = round_.suite.get(row["benchmark"], row["benchmark"])
        if folder in round_.benchmarks and comparable_since(round_, folder) != row["comparable_since"]:
            differing.add((folder, row["round"]))
    assert differing == OTHERWISE
