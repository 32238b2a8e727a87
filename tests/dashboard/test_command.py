"""`laptime dashboard`: what a user types and sees."""

import pytest

from laptime.cli.main import main


def run(capsys, *arguments):
    capsys.readouterr()
    code = main([str(one) for one in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_export_says_what_it_wrote(small_store, tmp_path, capsys):
    code, out, err = run(capsys, "dashboard", "export", tmp_path / "site", "--store", small_store)
    assert (code, err) == (0, "")
    assert out.startswith(f"{tmp_path / 'site/index.html'}: 3 results, ")


def test_export_of_no_store_is_one_line(tmp_path, capsys):
    code, out, err = run(capsys, "dashboard", "export", tmp_path / "site", "--store", tmp_path / "none.sqlite")
    assert (code, out) == (2, "")
    assert err.startswith("laptime: expected a store of results, found nothing at ")
    assert not (tmp_path / "site").exists()


def test_export_into_somebody_elses_folder_is_refused(small_store, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = run(capsys, "dashboard", "export", tmp_path, "--store", small_store)
    assert code == 2
    assert "found other files in" in err


@pytest.mark.parametrize("words", [("--port", "70000"), ("--every", "0"), ("--port", "x")])
def test_serve_refuses_what_cannot_be(small_store, capsys, words):
    assert run(capsys, "dashboard", "serve", "--store", small_store, *words)[0] == 2


def test_serve_without_a_store_is_one_line(tmp_path, capsys):
    code, out, err = run(capsys, "dashboard", "serve", "--store", tmp_path / "none.sqlite", "--port", "0")
    assert (code, out) == (2, "")
    assert err.startswith("laptime: expected a store of results")
