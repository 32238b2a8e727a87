"""An interrupted reformat goes on only from the same source."""

from laptime.training.data.reformat import PROGRESS, begin, end
from laptime.training.data.store import MANIFEST


def test_shards_of_the_same_source_are_kept_and_the_manifest_is_not(tmp_path):
    begin(tmp_path, "one")
    for name in ("a.shard", MANIFEST):
        (tmp_path / name).write_text("x")
    begin(tmp_path, "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.shard", PROGRESS]


def test_shards_of_another_source_or_of_a_damaged_note_are_removed(tmp_path):
    for note in ('{"source": "other"}', "{"):
        begin(tmp_path, "one")
        (tmp_path / "a.shard").write_text("x")
        (tmp_path / PROGRESS).write_text(note)
        begin(tmp_path, "one")
        assert [path.name for path in tmp_path.iterdir()] == [PROGRESS]


def test_nothing_is_left_to_go_on_with_at_the_end(tmp_path):
    begin(tmp_path, "one")
    end(tmp_path)
    assert not list(tmp_path.iterdir())
