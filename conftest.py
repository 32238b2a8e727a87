"""Property tests take what time they need and try the same examples everywhere: a red run means a real fault.

Two workers share the tests file by file, so that what a file prepares is prepared once; the tests of several processes
stay together because two gangs of processes on two cores wait for each other, and those of a benchmark's conformance
because they share its data. What takes longest comes first.
"""

import pytest
from hypothesis import settings

settings.register_profile("laptime", deadline=None, derandomize=True)
settings.load_profile("laptime")

PROCESSES, CONFORMANCE = "tests/multiprocess/", "tests/conformance/"
LONGEST_FIRST = (PROCESSES, "tests/harness/", CONFORMANCE, "tests/bench/", "src/laptime/suite/", "tests/training/")


def together(nodeid):
    """The name of the tests that one worker runs one after another, this one among them."""
    path, _, rest = nodeid.partition("::")
    if path.startswith(PROCESSES):
        return PROCESSES
    if path.startswith(CONFORMANCE) and rest.endswith("]"):
        return CONFORMANCE + rest.partition("[")[2]
    return path


def rank(path):
    """Where a file stands in the order of the tests."""
    return next((i for i, folder in enumerate(LONGEST_FIRST) if path.startswith(folder)), len(LONGEST_FIRST))


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):  # a worker of pytest-xdist; all of them must find the same order
        items.sort(key=lambda item: rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return together(nodeid)

    config.option.loadscopereorder = False  # pytest_collection_modifyitems has ordered them
    return Together(config, log)
