"""Token files: the published byte layout, and what is refused."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laptime.errors import DataProblem, DataTouchedTooEarly
from laptime.training.data.store import Manifest, Store, entries
from laptime.training.data.token_files import KINDS, TokenFile, check_vocabulary, kind_for, pair, write_tokens

DOCUMENTS = [[5, 6, 7], [8], [300, 2, 1, 0]]


def layout(documents, *, magic=b"MMIDIDX\0\0", version=1, code=8, number="<H"):
    """The two files written field by field, as the format is described."""
    content = b"".join(struct.pack(number, value) for one in documents for value in one)
    width, index, position = struct.calcsize(number), magic + struct.pack("<QB", version, code), 0
    index += struct.pack("<QQ", len(documents), len(documents) + 1)
    index += b"".join(struct.pack("<i", len(one)) for one in documents)
    for one in documents:
        index += struct.pack("<q", position)
        position += width * len(one)
    return index + b"".join(struct.pack("<q", i) for i in range(len(documents) + 1)), content


def put(folder, index, content):
    for path, data in zip(pair(folder, "c4"), (index, content), strict=True):
        path.write_bytes(data)
    return pair(folder, "c4")


@pytest.mark.parametrize(("code", "number"), [(1, "<B"), (2, "<b"), (3, "<h"), (4, "<i"), (5, "<q"), (8, "<H")])
def test_files_in_the_published_layout_are_read(tmp_path, code, number):
    documents = [[1, 2, 3], [4], [], [5, 6]]
    found = TokenFile.load(*put(tmp_path, *layout(documents, code=code, number=number)))
    assert [one.tolist() for one in found] == documents
    assert found.part(0, 1, 3).tolist() == [2, 3]
    assert KINDS[code].itemsize == struct.calcsize(number)


def test_written_files_have_the_published_bytes(tmp_path):
    assert write_tokens(tmp_path, "c4", DOCUMENTS, kind_for(32000)) == 3
    assert tuple(path.read_bytes() for path in pair(tmp_path, "c4")) == layout(DOCUMENTS, number="<H")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c4.bin", "c4.idx"]


def test_a_vocabulary_of_65500_and_more_takes_four_bytes():
    assert kind_for(65499) == np.dtype("<u2")
    assert kind_for(65500) == np.dtype("<i4")
    assert kind_for(128256) == np.dtype("<i4")


def test_empty_documents_are_left_out_and_large_ids_refused_when_written(tmp_path):
    assert write_tokens(tmp_path, "c4", [[1], [], [2, 3]], kind_for(100)) == 2
    with pytest.raises(DataProblem, match=r"expected token ids 0 to 65535 for .*c4\.bin, found 7 to 65536"):
        write_tokens(tmp_path, "c4", [[65536, 7]], kind_for(100))


INDEX, CONTENT = layout(DOCUMENTS, number="<H")


@pytest.mark.parametrize(("index", "content", "message"), [
    (INDEX[:20], CONTENT, r"at least 34 bytes in .*c4\.idx, found 20"),
    (b"NMIDIDX" + INDEX[7:], CONTENT, r"index of token files, version 1, in .*c4\.idx"),
    (layout(DOCUMENTS, version=2)[0], CONTENT, r"version 1, in .*c4\.idx, found other bytes"),
    (layout(DOCUMENTS, code=6)[0], CONTENT, r"kind of number out of 1, 2, 3, 4, 5, 8 in .*c4\.idx, found 6"),
    (INDEX[:-1], CONTENT, r"expected 102 bytes for 3 sequences .*c4\.idx, found 101"),
    (INDEX[:18] + struct.pack("<Q", 2**62) + INDEX[26:], CONTENT, r"for 4611686018427387904 sequences"),
    (layout([])[0], b"", r"at least one sequence in .*c4\.idx"),
    (INDEX[:34] + struct.pack("<i", -1) + INDEX[38:], CONTENT, r"no negative size per document in .*c4\.idx"),
    (INDEX[:-8] + struct.pack("<q", 2), CONTENT, r"one sequence of no negative size per document"),
    (INDEX[:46] + struct.pack("<q", 2) + INDEX[54:], CONTENT, r"back to back in .*c4\.idx"),
    (INDEX, CONTENT[:-1], r"expected 8 tokens of 2 bytes and at least one in .*c4\.bin, found 15 bytes"),
    (INDEX, CONTENT + b"\0\0", r"in .*c4\.bin, found 18 bytes"),
])
def test_other_files_are_refused_by_name(tmp_path, index, content, message):
    with pytest.raises(DataProblem, match=message):
        TokenFile.load(*put(tmp_path, index, content))


@pytest.mark.parametrize("which", [0, 1])
def test_a_missing_file_is_named(tmp_path, which):
    paths = put(tmp_path, INDEX, CONTENT)
    paths[which].unlink()
    with pytest.raises(DataProblem, match=f"cannot read .*{paths[which].name}: No such file"):
        TokenFile.load(*paths)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_changed_byte_of_an_index_is_read_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("hostile")
    index = bytearray(INDEX)
    index[data.draw(st.integers(0, len(index) - 1))] = data.draw(st.integers(0, 255))
    paths = put(folder, bytes(index[:data.draw(st.integers(0, len(index)))]), CONTENT)
    try:
        found = [one.tolist() for one in TokenFile.load(*paths)]
    except DataProblem as problem:
        found = str(problem)
    assert found == DOCUMENTS or "c4." in found


def test_ids_outside_the_vocabulary_are_found(tmp_path):
    paths = put(tmp_path, *layout([[1, 2], [-3, 5]], code=4, number="<i"))
    tokens = TokenFile.load(*paths)
    with pytest.raises(DataProblem, match=r"expected token ids 0 to 99 in .*c4\.bin, found -3"):
        check_vocabulary(tokens, 100, paths[1])
    paths = put(tmp_path, INDEX, CONTENT)
    with pytest.raises(DataProblem, match=r"expected token ids 0 to 299 in .*, found 300"):
        check_vocabulary(TokenFile.load(*paths), 300, paths[1])
    check_vocabulary(TokenFile.load(*paths), 301, paths[1])


def test_files_of_a_data_set_open_only_while_the_clock_runs(tmp_path):
    put(tmp_path, INDEX, CONTENT)
    store = Store(tmp_path, Manifest("c4", "", "", {}, entries(tmp_path, ["c4.idx", "c4.bin"])))
    with pytest.raises(DataTouchedTooEarly):
        TokenFile.of(store, "c4")
    store.unlock()
    assert len(TokenFile.of(store, "c4")) == 3
