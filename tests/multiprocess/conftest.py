"""Two and four processes that serve all tests here."""

import pytest
from gang import Gang


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
