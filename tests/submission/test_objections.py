"""The objections file: what people wrote survives reruns; what a file may not hold is said in one line."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laptime.compliance.finding import printable
from laptime.errors import UserError
from laptime.submission.objections import STATES, Objection, objection, read_objections, text, updated, write_objections
from laptime.submission.suspicions import Suspicion

POINT = Suspicion("copied-log", "acme", "box", "resnet", ("globex/x",), "1 pair", ("a.txt = b.txt",))
OTHER = Suspicion("mixed-values", "acme", "box", "resnet", ("lr",), "lr is 1 and 2", ())


def test_new_points_are_open_objections():
    (one,) = updated((), [POINT], by="globex")
    assert (one.id, one.status, one.by, one.against) == (POINT.id, "open", "globex", "acme")


def test_a_rerun_keeps_what_people_wrote_and_renews_the_rest():
    (old,) = updated((), [POINT])
    answered = replace(old, status="answered", answer="a shared machine", by="me", fix_required=True)
    (new,) = updated([answered], [replace(POINT, text="2 pairs")])
    assert new == replace(answered, text="2 pairs")


def test_a_point_that_is_gone_is_resolved_and_one_that_returns_is_open():
    gone = updated(updated((), [POINT]), [])
    assert [one.status for one in gone] == ["resolved"]
    assert [one.status for one in updated(gone, [POINT])] == ["open"]


@pytest.mark.parametrize("status", ["accepted", "rejected"])
def test_what_was_settled_stays_so(status):
    settled = [replace(objection(POINT), status=status)]
    assert [one.status for one in updated(settled, [])] == [status]
    assert [one.status for one in updated(settled, [POINT])] == [status]


def test_objections_of_people_are_left_alone():
    mine = Objection("my-own", "manual", "acme", "The run command is missing")
    assert updated([mine], [POINT])[0] == mine


def test_order_is_that_of_the_file_then_new_points():
    assert [one.id for one in updated(updated((), [OTHER]), [POINT, OTHER])] == [OTHER.id, POINT.id]


def test_a_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "objections.toml"
    written = (replace(objection(POINT), answer='He said "no"\nand \\ left', fix_required=True), objection(OTHER))
    write_objections(path, written)
    assert read_objections(path) == written


@settings(max_examples=50, deadline=None)
@given(answer=st.text(max_size=80), against=st.text(max_size=20))
def test_any_text_survives_writing_but_for_control_characters(tmp_path_factory, answer, against):
    path = tmp_path_factory.mktemp("o") / "objections.toml"
    one = replace(objection(replace(POINT, against=against)), answer=answer)
    write_objections(path, [one])
    (read,) = read_objections(path)
    assert read.answer.split("\n") == [printable(line) for line in answer.split("\n")]
    assert read.against == printable(against)


@pytest.mark.parametrize(("content", "words"), [
    ("[[objection]\n", "expected TOML"), ("objection = 1\n", "expected entries"), ("[[objection]]\n", "expected an id"),
    ('[[objection]]\nid = "a"\nstatus = "done"\n', "expected status"), ('[[objection]]\nid = 1\n', "expected text in field 'id'"),
    ('[[objection]]\nid = "a"\n[[objection]]\nid = "a"\n', "each id once"), ('[[objection]]\nid = "a"\nanswr = "x"\n', "unknown field 'answr'"),
    ('[[objection]]\nid = "a"\nplaces = [1]\n', "list of texts"), ('[[objection]]\nid = "a"\nfix_required = 1\n', "true or false"),
    ("\xff", "expected TOML")])
def test_what_is_wrong_with_a_file_is_said(tmp_path, content, words):
    path = tmp_path / "o.toml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=words):
        read_objections(path)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_objections(tmp_path / "none.toml")


def test_the_file_explains_its_states():
    assert all(state in text(()) for state in STATES)
