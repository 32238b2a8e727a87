"""Work on one thread, and as many as before afterwards."""

import pytest
import torch

from laptime.training.threads import one_thread


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_one_thread_within_and_as_many_as_before_afterwards():
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_threads_come_back_after_a_failure():
    with pytest.raises(ValueError, match="mine"), one_thread():
        raise ValueError("mine")
    assert torch.get_num_threads() == 3
