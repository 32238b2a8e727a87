"""Where a program stands among those that make runs together: a node of several, or one process of a torchrun job.

Knows the options of `laptime run` and the variables that torchrun sets for each of its processes; talks to nobody.
"""

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from laptime.errors import InvalidConfiguration

RENDEZVOUS_PORT = 29500  # torchrun's default too
LARGEST_PORT = 65535
TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # torchrun's, all of them
OTHERS = ("GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME")  # torchrun's, not used


@dataclass(frozen=True)
class Place:
    """Member `member` of `members`; each starts `local` of a run's processes, the first of them with `local_rank`.

    `local_size`: processes of a run on this node, whoever starts them; `address`, `port`: where member 0 listens.
    """

    member: int = 0
    members: int = 1
    local: int = 1
    local_rank: int = 0
    local_size: int = 1
    address: str = "127.0.0.1"
    port: int = 0

    @property
    def first(self) -> bool:
        return self.member == 0

    @property
    def nodes(self) -> int:
        return self.members * self.local // self.local_size

    @property
    def size(self) -> int:
        """Processes of one run."""
        return self.members * self.local

    @property
    def ranks(self) -> range:
        """Of the processes that this member starts."""
        return range(self.member * self.local, (self.member + 1) * self.local)


@dataclass(frozen=True)
class Meeting:
    """Where the processes of one run find each other."""

    address: str
    port: int


def place_of(nproc: int, *, nodes: int = 1, node_rank: int | None = None, rendezvous: str | None = None,
             told: Mapping[str, str] | None = None) -> Place:
    """The place that options name or, without any, that a launcher's variables `told` describe; alone without either.

    Raises InvalidConfiguration for a place that cannot be.
    """
    if nodes == 1 and node_rank is None and rendezvous is None:
        return _from_launcher(told, nproc) if told and int(told["WORLD_SIZE"]) > 1 else Place(
            local=nproc, local_size=nproc)
    if node_rank is None or rendezvous is None:
        raise InvalidConfiguration("expected --nodes, --node-rank and --rendezvous together",
                                   hint="Such as: --nodes 2 --node-rank 0 --rendezvous HOST:29500")
    if not 0 <= node_rank < nodes:
        raise InvalidConfiguration(f"expected --node-rank to be from 0 to {nodes - 1}, found {node_rank}")
    address, port = endpoint(rendezvous)
    return Place(node_rank, nodes, nproc, 0, nproc, address, port)


def endpoint(text: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT" or "HOST". Raises InvalidConfiguration."""
    host, separator, number = text.rpartition(":")
    if not separator or text.endswith("]"):
        host, number = text, str(RENDEZVOUS_PORT)
    host = host.strip("[]")
    if not host or not number.isascii() or not number.isdigit() or not 0 < int(number) <= LARGEST_PORT:
        raise InvalidConfiguration(f"expected --rendezvous to be HOST:PORT, found '{text}'",
                                   hint="HOST is a name or address of the first node that the others can reach.")
    return host, int(number)


def launcher_variables(environment: Mapping[str, str]) -> Mapping[str, str] | None:
    """What torchrun (or a job script in its manner) tells each of its processes; None outside of one."""
    told = {name: environment[name] for name in TOLD if name in environment}
    numbers = [value for name, value in told.items() if name != "MASTER_ADDR"]
    return told if len(told) == len(TOLD) and all(one.isascii() and one.isdigit() for one in numbers) else None


def variables(place: Place, rank: int, meeting: Meeting) -> dict[str, str]:
    """The environment of the process with `rank`: this program's, without what was meant for this program alone."""
    kept = {name: value for name, value in os.environ.items()
            if name not in (*TOLD, *OTHERS) and not name.startswith("TORCHELASTIC_")}
    if place.size == 1:
        return kept
    interface = _interface_to(meeting.address)
    settings = {"GLOO_SOCKET_IFNAME": interface} if interface and place.members > 1 else {}
    local_rank = place.local_rank + rank - place.ranks.start
    return {"OMP_NUM_THREADS": "1", **settings, **kept,  # one: as torchrun sets it; compute threads are set by torch
            "RANK": str(rank), "WORLD_SIZE": str(place.size), "LOCAL_RANK": str(local_rank),
            "LOCAL_WORLD_SIZE": str(place.local_size), "MASTER_ADDR": meeting.address, "MASTER_PORT": str(meeting.port)}


def free_port(address: str) -> int:
    """A port that nobody listens on at any address of this machine: the store that processes meet at listens at all.

    `address`: this machine's, or one that is translated to it.
    """
    while True:
        with server_at(address, 0) as server:
            port = int(server.getsockname()[1])
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port


def server_at(address: str, port: int) -> socket.socket:
    """A socket that listens at `address`, or everywhere where this machine does not know it as its own (yet).

    Raises OSError when the port is taken.
    """
    try:
        return socket.create_server((address, port))
    except OSError:
        return socket.create_server(("", port))


def _from_launcher(told: Mapping[str, str], nproc: int) -> Place:
    number = {name: int(value) for name, value in told.items() if name != "MASTER_ADDR"}
    size, local = number["WORLD_SIZE"], number["LOCAL_WORLD_SIZE"]
    if nproc not in (1, local):
        raise InvalidConfiguration(f"expected --nproc {local} or none under a launcher of {local} processes per node, "
                                   f"found {nproc}")
    if local < 1 or size % local or not number["RANK"] < size:
        raise InvalidConfiguration(f"expected the launcher to start as many processes on every node, found {size} with "
                                   f"{local} on this one")
    return Place(number["RANK"], size, 1, number["LOCAL_RANK"], local, told["MASTER_ADDR"], number["MASTER_PORT"] + 1)


def _interface_to(address: str) -> str | None:
    """The network interface that leads to `address`; gloo otherwise takes the one that the host's name stands for."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing
            mine = probe.getsockname()[0]
        return next((name for _, name in socket.if_nameindex() if _address(name) == mine
                     or (mine.startswith("127.") and (_address(name) or "").startswith("127."))), None)
    except OSError:
        return None


def _address(interface: str) -> str | None:
    """The IPv4 address of an interface, where the system tells it (Linux)."""
    import fcntl
    import struct

    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            answer = fcntl.ioctl(probe.fileno(), 0x8915, struct.pack("256s", interface[:15].encode()))  # SIOCGIFADDR
        return socket.inet_ntoa(answer[20:24])
    except OSError:
        return None
