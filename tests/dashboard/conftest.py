"""Sites for the tests: a small store by our own writer, a hostile one, and, where they are at hand, five public rounds."""

import os
from pathlib import Path

import pytest
from browser import Browser
from public_rounds import whole_round
from stores import store_of, write_description, write_round
from trees import write_result

from laptime.dashboard.export import Exporter
from laptime.results.ingest import ingest

ROUNDS = ("v0.5", "v0.7", "v2.0", "v4.0", "v5.0")
READY_STORE = "LAPTIME_DASHBOARD_STORE"  # a store of these rounds, so that a developer need not ingest them each time
EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\u2028"
FORMULA = "=HYPERLINK(\"http://x.invalid\",\"+1\")"


def site_of(store, folder):
    Exporter(store, folder).write("2026-01-02")
    return (folder / "index.html").as_uri()


@pytest.fixture(scope="session")
def small_store(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def small(small_store, tmp_path_factory):
    """The address of a site of three results."""
    return site_of(small_store, tmp_path_factory.mktemp("small") / "site")


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """The address of a site whose submission does what it can: names, values, descriptions."""
    top = tmp_path_factory.mktemp("hostile")
    write_round(top)
    home = write_result(top, "<b onmouseover=alert(3)>Evil", system="javascript:alert(4)", minutes=5, first_seed=900, opt_name=EVIL, seed_note=EVIL, platform=EVIL)
    write_description(home, "javascript:alert(4)", submitter=EVIL, system_name=EVIL, framework=FORMULA, accelerator_model_name=EVIL, hw_notes=EVIL,
                      **{EVIL: {"__proto__": EVIL}})
    return site_of(store_of(top, top / "v4.0"), top / "site")


@pytest.fixture(scope="session")
def public_store(tmp_path_factory):
    if READY_STORE in os.environ:
        return Path(os.environ[READY_STORE])
    path = tmp_path_factory.mktemp("public") / "results.sqlite"
    ingest([whole_round(name) for name in ROUNDS], path)
    return path


@pytest.fixture(scope="session")
def public(public_store, tmp_path_factory):
    """The address of a site of five public rounds."""
    return site_of(public_store, tmp_path_factory.mktemp("public-site"))


@pytest.fixture(scope="session")
def browser():
    one = Browser()
    yield one
    one.close()


@pytest.fixture
def page(browser, tmp_path):
    """A new tab; what it saves lies in tmp_path."""
    one = browser.page(downloads=tmp_path)
    yield one
    one.close()
