"""Where a program stands among those that make runs together, and what it tells its processes."""

import socket

import pytest

from laptime.errors import InvalidConfiguration
from laptime.harness import place
from laptime.harness.place import Meeting, Place, endpoint, launcher_variables, place_of, variables

TOLD = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "n0", "MASTER_PORT": "29500"}


def test_without_options_or_launcher_a_program_is_alone():
    place = place_of(3)
    assert (place.first, place.nodes, place.size, list(place.ranks)) == (True, 1, 3, [0, 1, 2])


def test_node_of_several_starts_its_share_of_the_ranks():
    place = place_of(4, nodes=2, node_rank=1, rendezvous="n0:1234")
    assert (place.first, place.nodes, place.size, list(place.ranks)) == (False, 2, 8, [4, 5, 6, 7])
    assert (place.address, place.port) == ("n0", 1234)


def test_process_of_torchrun_becomes_one_rank_and_listens_behind_its_port():
    place = place_of(1, told=launcher_variables(TOLD))
    assert (place.nodes, place.size, list(place.ranks), place.local_size, place.port) == (2, 8, [5], 4, 29501)


@pytest.mark.parametrize("missing", TOLD)
def test_half_a_launcher_is_none(missing):
    assert launcher_variables({name: value for name, value in TOLD.items() if name != missing}) is None


@pytest.mark.parametrize("options", [
    {"nodes": 2}, {"nodes": 2, "node_rank": 0}, {"rendezvous": "a:1"}, {"nodes": 2, "node_rank": 2, "rendezvous": "a:1"},
    {"nodes": 2, "node_rank": 0, "rendezvous": ":1"}, {"nodes": 2, "node_rank": 0, "rendezvous": "a:0"},
    {"nodes": 2, "node_rank": 0, "rendezvous": "a:x"}, {"nproc": 3, "told": TOLD}, {"told": TOLD | {"LOCAL_WORLD_SIZE": "3"}}])
def test_place_that_cannot_be_is_refused(options):
    with pytest.raises(InvalidConfiguration, match="expected"):
        place_of(**{"nproc": 1} | options)


@pytest.mark.parametrize(("text", "found"), [("a:1", ("a", 1)), ("a", ("a", 29500)), ("[::1]:5", ("::1", 5)), ("10.0.0.1:29600", ("10.0.0.1", 29600))])
def test_endpoint_is_host_and_port(text, found):
    assert endpoint(text) == found


def test_ranks_are_told_what_torchrun_tells_and_nothing_of_an_outer_one(monkeypatch):
    for name, value in (TOLD | {"TORCHELASTIC_USE_AGENT_STORE": "True", "GROUP_RANK": "3", "MINE": "kept"}).items():
        monkeypatch.setenv(name, value)
    told = variables(Place(1, 2, 4, 0, 4), 6, Meeting("127.0.0.2", 4711))
    assert {name: told[name] for name in TOLD} == {"RANK": "6", "WORLD_SIZE": "8", "LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "4",
                                                   "MASTER_ADDR": "127.0.0.2", "MASTER_PORT": "4711"}
    assert told["MINE"] == "kept"
    assert not {"TORCHELASTIC_USE_AGENT_STORE", "GROUP_RANK"} & set(told)
    assert told["GLOO_SOCKET_IFNAME"] == "lo"
    assert not set(TOLD) & set(variables(Place(), 0, Meeting("", 0)))


def test_port_that_somebody_listens_on_at_another_address_is_not_taken(monkeypatch):
    """Processes meet at a store that listens at every address."""
    real, asked = place.server_at, []

    def server_at(address, port):
        asked.append(address)
        return socket.create_server((address, other.getsockname()[1])) if len(asked) == 1 else real(address, port)

    with socket.create_server(("127.0.0.3", 0)) as other:
        monkeypatch.setattr(place, "server_at", server_at)
        assert place.free_port("127.0.0.2") != other.getsockname()[1]
    assert len(asked) > 1
