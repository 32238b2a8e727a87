"""review: files written, objections kept, exit codes, nothing hostile comes through."""

import json
import shutil

import pytest
from trees import write_result


@pytest.fixture
def pair(tmp_path):
    """A submission with one log copied from another one."""
    mine = write_result(tmp_path, "acme")
    other = write_result(tmp_path, "globex", first_seed=501, offset_ms=90_000_123, minutes=50, step=1.5)
    shutil.copy(other / "results/box/resnet/result_1.txt", mine / "results/box/resnet/result_1.txt")
    return mine, other


def test_report_goes_to_stdout_as_markdown(run, pair):
    answer = run("review", pair[0], "--against", pair[1])
    assert answer.code == 1  # there are open points
    assert answer.out.startswith("# Review of acme, round v4.0\n")
    for words in ("## Points to look into", "Two files hold the same log", "### Hyperparameters", "### Convergence",
                  "### Where the time went", "## Values that could be borrowed", "unverified"):
        assert words in answer.out


def test_out_holds_report_page_and_objections(run, pair, tmp_path):
    out = tmp_path / "out"
    answer = run("review", pair[0], "--against", pair[1], "--out", out, "--by", "globex")
    assert {path.name for path in out.iterdir()} == {"review.md", "review.html", "objections.toml"}
    assert "Two files hold the same log" in (out / "review.html").read_text()
    assert 'by = "globex"' in (out / "objections.toml").read_text()
    assert "copied-log-" in answer.out


def test_answers_survive_a_rerun_and_what_is_mended_is_resolved(run, pair, tmp_path):
    mine, other = pair
    file = tmp_path / "out/objections.toml"
    run("review", mine / "results", "--against", other, "--out", tmp_path / "out")
    file.write_text(file.read_text().replace('answer = ""', 'answer = "sorry"'))
    run("review", mine / "results", "--against", other, "--out", tmp_path / "out")
    assert 'answer = "sorry"' in file.read_text()
    shutil.rmtree(mine)
    write_result(tmp_path, "acme")
    answer = run("review", mine / "results", "--against", other, "--out", tmp_path / "out")
    assert answer.code == 0
    assert "open" not in answer.out
    assert 'answer = "sorry"' in file.read_text()


def test_objections_alone_are_printed(run, pair, tmp_path):
    run("review", pair[0], "--against", pair[1], "--out", tmp_path / "out")
    answer = run("review", "--objections", tmp_path / "out/objections.toml")
    assert answer.code == 1
    assert "copied-log-" in answer.out
    found = json.loads(run("review", "--objections", tmp_path / "out/objections.toml", "--json").out)
    assert {one["status"] for one in found} == {"open"}


def test_state_is_shown_in_the_report(run, pair, tmp_path):
    out = tmp_path / "out"
    run("review", pair[0], "--against", pair[1], "--out", out)
    file = out / "objections.toml"
    file.write_text(file.read_text().replace('status = "open"', 'status = "accepted"').replace("fix_required = false", "fix_required = true"))
    answer = run("review", pair[0], "--against", pair[1], "--out", out)
    assert answer.code == 0
    assert "accepted, fix required" in (out / "review.md").read_text()


def test_review_of_nothing_is_wrong_use(run):
    answer = run("review")
    assert (answer.code, "SUBMISSION" in answer.err) == (2, True)


def test_a_broken_objections_file_is_one_line_and_nothing_is_overwritten(run, pair, tmp_path):
    file = tmp_path / "o.toml"
    file.write_text("[[objection")
    answer = run("review", pair[0], "--objections", file)
    assert answer.code == 2
    assert file.read_text() == "[[objection"


def test_hostile_names_and_values_stay_text(run, tmp_path):
    name = "<img src=x onerror=alert(1)>|`"
    home = write_result(tmp_path, name, system="<b>&\x1b[31m", platform="</td><script>x</script>", more={"<i>": 1})
    out = tmp_path / "out"
    answer = run("review", home, "--out", out)
    page, said = (out / "review.html").read_text(), (out / "review.md").read_text()
    assert "\x1b" not in answer.out + page + said
    assert not any(tag in page for tag in ("<img", "<script", "<b>", "<i>"))
    assert "<img" not in said.replace("\\<", "")


def test_a_log_that_is_no_log_ends_nothing(run, pair):
    (pair[0] / "results/box/resnet/result_4.txt").write_bytes(b"\x00junk")
    answer = run("review", pair[0])
    assert answer.code == 1
    assert "log-empty" in answer.out
