"""check: roots and consequences, groups, both levels, many results; the forms for other programs have their own file."""

import io
import json
import sys

from trees import write_result, write_run

from laptime.cli.counter import counter
from laptime.layout import find_results


def spoil(path, old, new, logs="result_*.txt"):
    for log in path.glob(logs):
        text = log.read_text()
        assert old in text
        log.write_text(text.replace(old, new))


def findings(answer):
    return [line for line in answer.out.splitlines() if " error " in line or " warning " in line]


def test_one_finding_in_all_logs_is_one_line(run, folder):
    answer = run("check", folder(opt_name="adam"))
    (line,) = [line for line in findings(answer) if "opt_name" in line]
    assert line.startswith("result_0.txt:")
    assert line.endswith("[in 5 of 5 logs]")


def test_all_shows_each_finding(run, folder):
    answer = run("check", folder(opt_name="adam"), "--all")
    assert len([line for line in findings(answer) if "error opt_name" in line]) == 5


def test_what_follows_from_a_finding_hangs_below_it(run, folder):
    path = folder()
    spoil(path, '"metadata": {"file": "train.py", "lineno": 1, "status": "success"}', '"metadata": {}', "result_0.txt")
    out = run("check", path).out.splitlines()
    place = next(i for i, line in enumerate(out) if "error run_stop:" in line)
    assert out[place + 1].startswith("  so: ")
    assert "run-status" in out[place + 1]


def test_a_folder_that_fails_for_its_logs_names_them_as_the_root(run, folder):
    answer = run("check", folder(opt_name="adam"))
    line = next(line for line in answer.out.splitlines() if "too-many-failures" in line)
    assert line.startswith("  so: ")
    assert "5 errors (" in answer.out.splitlines()[-1]  # one root per log
    assert "more follow from these)" in answer.out.splitlines()[-1]


def test_roots_are_marked_in_json(run, folder):
    found = json.loads(run("check", folder(opt_name="adam"), "--json").out)
    (result,) = found["results"]
    (error,) = [one for one in result["runs"][0]["findings"] if one["severity"] == "error"]
    assert error["because"] is None
    assert error["expected"] == "'sgd' or 'lars'"
    (folder_error,) = result["findings"]
    assert folder_error["because"]["rule"] == error["rule"]
    assert found["rules"]["too-many-failures"]


def uncleared(folder):
    """Five runs that the official checker takes and the rules do not."""
    path = folder()
    spoil(path, '"key": "cache_clear", "value": true', '"key": "cache_clear", "value": false')
    return path


def test_both_levels_say_where_they_differ_and_why(run, folder):
    answer = run("check", uncleared(folder), "--level", "both")
    assert answer.code == 1
    assert "by the rules 0 of 5 logs pass; officially 5 of 5 logs pass" in answer.out
    assert "resnet, 5 logs: fails by the rules, passes officially" in answer.out
    assert "the official checker: any value is taken, even false" in answer.out


def test_both_levels_agree_on_good_runs(run, folder):
    answer = run("check", folder(), "--level", "both")
    assert answer.code == 0
    assert "5 logs with the same verdict both ways, 0 with another" in answer.out


def test_both_levels_in_json(run, folder):
    found = json.loads(run("check", uncleared(folder), "--level", "both", "--json").out)
    assert (found["rules"]["ok"], found["official"]["ok"]) == (False, True)
    assert {one["rules"] for one in found["differences"]} == {False}


def test_both_levels_write_no_file(run, folder, tmp_path):
    answer = run("check", folder(), "--level", "both", "--csv", tmp_path / "a.csv")
    assert answer.code == 2
    assert "one level" in answer.err


def test_many_results_get_a_table(run, tmp_path):
    for number in range(6):
        write_result(tmp_path, "acme" if number < 4 else "globex", system=f"s{number}", runs=1, first_seed=number)
    out = run("check", tmp_path / "v4.0", "--no-packages").out
    rows = [line.split() for line in out.splitlines() if line.startswith(("submitter", "acme", "globex"))]
    assert rows == [["submitter", "benchmark", "results", "logs", "passed", "errors", "warnings"],
                    ["acme", "resnet", "4", "4", "4", "4", "0"], ["globex", "resnet", "2", "2", "2", "2", "0"]]


def test_packages_are_checked_where_a_folder_is_one(run, tmp_path):
    home = write_result(tmp_path, "acme")
    assert "system-missing" not in run("check", home, "--no-packages").out
    assert "system-missing" not in run("check", home / "results" / "box").out
    answer = run("check", home, "--junit", tmp_path / "a.xml")
    assert answer.code == 1
    assert "submission of acme, round v4.0: 1 result" in answer.out
    assert "error system-missing" in answer.out
    assert "system-missing" in (tmp_path / "a.xml").read_text()
    found = json.loads(run("check", home, "--packages", "--json").out)
    assert [one["ok"] for one in found["packages"]] == [False]


def test_packages_of_something_else_are_refused(run, folder):
    answer = run("check", folder() / "result_0.txt", "--packages")
    assert answer.code == 2
    assert "expected a submission" in answer.err


def test_a_log_beside_a_folder_is_judged_too(run, folder, tmp_path):
    log = write_run(tmp_path / "v4.0/x/results/y/resnet/result_0.txt", submitter="x", seed=1)
    answer = run("check", folder(), log)
    assert answer.code == 0
    assert "6 logs checked" in answer.out
    assert find_results(log)[0].submitter == "x"


def test_processes_change_nothing(run, folder):
    path = folder(opt_name="adam")
    assert run("check", path, "--processes", "2").out == run("check", path, "--processes", "1").out


def test_progress_is_not_shown_where_nobody_watches(run, folder):
    assert run("check", folder()).err == ""


def test_progress_counts_on_one_line_of_a_terminal_and_leaves_it_empty(monkeypatch):
    class Terminal(io.StringIO):
        """A stream that says it is a terminal."""

        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    show = counter("judged {done} of {total} results")
    for done in range(1, 6):
        show(done, 5)
    said = sys.stderr.getvalue()
    assert "\rjudged 3 of 5 results" in said
    assert "\n" not in said
    assert said.rsplit("\r", 1)[1] == ""
