"""check, score and plot on logs written here: text, JSON, exit codes."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from laptime.cli.figure import Curve, Labels, bins, draw
from laptime.errors import UserError
from laptime.log.record import Record
from laptime.log.write import LogWriter

LABELS = Labels("Title of the figure", "accuracy", "epochs", "a note")
CURVES = [Curve(((1, 0.3), (2, 0.6), (3, 0.8)), True), Curve(((1, 0.2), (2, 0.5), (3, 0.7)), False), Curve((), False)]


def test_check_of_good_runs_finds_nothing(run, folder):
    answer = run("check", folder())
    assert (answer.code, answer.err) == (0, "")
    assert "5 runs, 5 converged" in answer.out
    assert answer.out.endswith("5 logs checked, nothing found\n")


def test_check_of_one_log_names_its_round_and_verdict(run, folder):
    answer = run("check", folder() / "result_0.txt")
    assert answer.code == 0
    assert "result_0.txt: resnet, round v4.0: converged" in answer.out


def test_check_shows_findings_as_a_compiler_does(run, folder):
    answer = run("check", folder(opt_name="adam"))
    assert answer.code == 1
    line = next(line for line in answer.out.splitlines() if line.startswith("result_0.txt:"))
    assert "error opt_name" in line
    assert "is 'adam', expected 'sgd' or 'lars'" in line
    assert "laptime explain" in answer.out


def test_check_in_json_holds_the_same_findings(run, folder):
    answer = run("check", folder(opt_name="adam"), "--json")
    found = json.loads(answer.out)
    assert (answer.code, found["ok"]) == (1, False)
    assert {finding["message"] for one in found["results"][0]["runs"] for finding in one["findings"]}


def test_check_of_the_wrong_round_says_so(run, folder):
    assert run("check", folder(), "--round", "v0.5").code == 1


def test_check_of_junk_is_a_finding_where_the_round_is_known(run, tmp_path):
    (tmp_path / "result_0.txt").write_bytes(b"\x00\xff junk\n:::MLLOG {broken\n")
    answer = run("check", tmp_path / "result_0.txt", "--round", "mini")
    assert answer.code == 1
    assert "Traceback" not in answer.out + answer.err


def test_check_of_a_log_without_round_asks_for_it(run, tmp_path):
    (tmp_path / "result_0.txt").write_text("nothing\n")
    answer = run("check", tmp_path / "result_0.txt")
    assert answer.code == 2
    assert "--round" in answer.err


def test_score_tells_each_step_to_the_number(run, folder):
    answer = run("score", folder(epochs=[35, 35, 35, 35, 39]))
    assert answer.code == 0
    assert "Left out: result_0.txt (fastest, 60.00 min), result_4.txt (slowest, 64.00 min)." in answer.out
    assert "The mean of the other 3 is 62.00 min" in answer.out
    assert "95 % confidence" in answer.out
    assert "Convergence test: the runs needed 35 epochs on average" in answer.out
    assert "multiplied by 1.0044" in answer.out  # 35.154 / 35
    assert "Score: 62.27 min" in answer.out
    assert "Unverified" in answer.out


def test_score_in_json_agrees_with_the_text(run, folder):
    path = folder()
    score = json.loads(run("score", path, "--json").out)[0]["score"]
    assert score["minutes"] == pytest.approx(62)
    assert f"Score: {score['normalised_minutes']:.2f} min" in run("score", path).out


def test_score_of_runs_that_were_too_quick_to_converge_warns(run, folder):
    answer = run("score", folder(epochs=[19] * 5))
    assert answer.code == 1
    assert "Not passed" in answer.out
    assert "Not to be published as it is" in answer.out


def test_score_of_too_few_runs_gives_the_reason(run, folder):
    answer = run("score", folder([60]))
    assert answer.code == 1
    assert "No score: expected 5 runs, found 1" in answer.out


def test_score_uses_the_factor_beside_the_logs(run, folder):
    path = folder()
    (path / "scaling.json").write_text('{"scaling_factor": 1.5}')
    assert "Score: 93.00 min" in run("score", path).out


def test_score_judges_at_the_level_asked_for(run, folder):
    path = folder()
    for log in path.iterdir():  # the rules want caches cleared, the official checker takes any value
        log.write_text(log.read_text().replace('"key": "cache_clear", "value": true', '"key": "cache_clear", "value": false'))
    assert run("score", path).code == 1
    answer = run("score", path, "--level", "official")
    assert (answer.code, "Score: 62.27 min" in answer.out) == (0, True)


def test_junk_among_good_logs_is_found_and_ends_nothing(run, folder):
    path = folder()
    (path / "result_4.txt").write_bytes(b"\x00 junk")
    moved = path.rename(path.parents[4] / "runs")
    for log in moved.glob("result_[0-3].txt"):  # nothing but the logs themselves tells the round
        log.write_text(':::MLLOG {"namespace": "", "time_ms": 1, "event_type": "POINT_IN_TIME", "key": "laptime_round", "value": "v4.0", "metadata": {}}\n' + log.read_text())
    answer = run("check", moved)
    assert answer.code == 1
    assert "result_4.txt: error log-empty: no log lines found" in answer.out
    assert "4 converged, 1 invalid" in answer.out


@pytest.mark.parametrize("command", ["check", "score"])
def test_control_characters_of_a_log_are_shown_escaped(run, folder, command):
    path = folder()
    first = path / "result_0.txt"
    first.write_text(first.read_text().replace('"key": "seed", "value": 0', r'"key": "seed", "value": "\u001b[31mred\n\u0007"'))
    first.rename(path / "result_\x1b[31m0.txt")
    out = run(command, path).out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert r"\x1b[31m" in out


@pytest.mark.parametrize("factor", ["1" + "0" * 400, "NaN", '"x"', "[]"])
def test_score_survives_any_scaling_file(run, folder, factor):
    path = folder()
    (path / "scaling.json").write_text(f'{{"scaling_factor": {factor}}}')
    answer = run("score", path)
    assert (answer.code, answer.err) == (0, "")
    assert "warning scaling-file" in run("check", path).out


def test_plot_writes_a_figure(run, folder, tmp_path):
    out = tmp_path / "figure.svg"
    answer = run("plot", folder(epochs=[31, 35, 35, 39, 39]), "--out", out)
    assert (answer.code, answer.out) == (0, f"{out}\n")
    text = " ".join(ElementTree.fromstring(out.read_text()).itertext())
    for words in ("Image classification, round v4.0", "target 0.759", "Top-1 accuracy", "Epochs to the target", "5 runs"):
        assert words in text


def test_plot_of_another_format_lists_those_there_are(run, folder, tmp_path):
    answer = run("plot", folder(), "--out", tmp_path / "figure.gif")
    assert answer.code == 2
    assert ".png, .svg" in answer.err


def test_plot_into_a_folder_that_is_not_there_is_one_line(run, folder, tmp_path):
    answer = run("plot", folder(), "--out", tmp_path / "no" / "figure.png")
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 2


def test_draw_writes_a_png_of_useful_size(tmp_path):
    draw(CURVES, 0.75, LABELS, tmp_path / "a.png")
    head = (tmp_path / "a.png").read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert int.from_bytes(head[16:20], "big") >= 1200


def test_draw_is_the_same_for_the_same_runs(tmp_path):
    for name in ("a.svg", "b.svg"):
        draw(CURVES, 0.75, LABELS, tmp_path / name)
    assert (tmp_path / "a.svg").read_text() == (tmp_path / "b.svg").read_text()


def test_draw_says_when_no_run_reached_the_target(tmp_path):
    draw(CURVES[1:], 0.75, LABELS, tmp_path / "a.svg")
    assert "no run reached the target" in (tmp_path / "a.svg").read_text()


def test_draw_without_evaluations_is_refused(tmp_path):
    with pytest.raises(UserError, match="at least one run with an evaluation"):
        draw([Curve((), False)], 0.75, LABELS, tmp_path / "a.png")


def test_bins_keep_few_values_apart_and_count_many_in_ranges():
    assert bins([3, 3, 5]) == {3: 2, 5: 1}
    many = bins([float(value) for value in range(100)])
    assert len(many) == 20
    assert sum(many.values()) == 100


def test_score_tells_the_energy_of_the_runs_that_count(run, folder):
    path = folder((60, 61, 62, 63, 64))
    for log in path.glob("result_*.txt"):
        for node in range(2):
            place = log.parent / "power" / log.stem
            place.mkdir(parents=True, exist_ok=True)
            with LogWriter(place / f"node_{node}.txt") as readings:
                start = 1_700_000_000_000
                readings.write(Record("power_measurement_start", None, start, "INTERVAL_START", {}))
                for second in range(1, 101):
                    readings.write(Record("power_reading", 100, start + 1000 * second, "POINT_IN_TIME", {}))
                readings.write(Record("power_measurement_stop", None, start + 100_000, "INTERVAL_END", {}))
    found = json.loads(run("score", path, "--json").out)[0]
    factor = found["score"]["normalised_minutes"] / found["score"]["minutes"]
    assert found["energy"]["mean_joules"] == pytest.approx(2 * 100 * 62 * 60 * factor)
    assert found["energy"]["joules"][0] == pytest.approx(2 * 100 * 60 * 60)
    assert "kWh) per run on average, from 2 nodes" in run("score", path).out
