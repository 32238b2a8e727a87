"""`laptime plan`: a table, the same for programs, the layout built on pretended processes, and clear refusals."""

import json

import pytest
from click.testing import CliRunner

from laptime.cli.main import main
from laptime.cli.plan import command


def asked(*words):
    return CliRunner().invoke(command, words)


def test_table_says_what_it_rests_on():
    answer = asked("bert", "--accelerator", "H200", "--count", "8", "--top", "3")
    assert answer.exit_code == 0
    lines = answer.output.splitlines()
    assert lines[0] == "bert on 8 x H200, batch 8,192"
    assert lines[1].split()[0] == "layout"
    assert [line.split(":")[0] for line in lines[-5:]] == ["peak", "utilisation", "bandwidth", "memory", "samples"]


def test_answer_for_programs_carries_layouts_and_units():
    found = json.loads(asked("resnet", "--accelerator", "H100", "--count", "16", "--json").output)
    assert found["count"] == 16
    assert found["layouts"][0]["fits"]
    assert found["layouts"][0]["minutes_to_target"] > 0
    assert found["layouts"][0]["memory_bytes"] == sum(found["layouts"][0]["memory"].values())


@pytest.mark.seconds
def test_layout_is_built_on_pretended_processes():
    found = json.loads(asked("bert", "--accelerator", "H200", "--count", "16", "--set", "parallel.shard=16", "--set",
                             "parallel.accumulation_steps=8", "--build", "--json").output)
    (stage,) = found["built"]["stages"]
    assert found["built"]["parameters"] == 336_226_108
    assert stage["parameters_bytes"] == pytest.approx(4 * 336_226_108 / 16, rel=0.02)  # uneven tensors are rounded up


def test_unknown_accelerator_and_layouts_that_cannot_run_get_one_line(capsys):
    for words in (["plan", "bert", "--accelerator", "H20", "--count", "8"],
                  ["plan", "resnet", "--accelerator", "H200", "--count", "8", "--set", "parallel.tensor=2"],
                  ["plan", "ncf", "--accelerator", "H200", "--count", "8"]):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.startswith("laptime: ")
        assert "Traceback" not in said
