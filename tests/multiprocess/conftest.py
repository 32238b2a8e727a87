"""Two and four processes that serve all tests here."""

from pathlib import Path

import pytest
from gang import Gang

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """All in one worker: processes of two gangs would wait for each other's cores."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("processes"))


@pytest.fixture(scope="session")
def pair():
    gang = Gang(2)
    yield gang
    gang.close()


@pytest.fixture(scope="session")
def quad():
    gang = Gang(4)
    yield gang
    gang.close()
