"""The members of a job talk: lines of JSON over one TCP connection from each member to the first one.

The first member says which run begins, with which seed and where its processes meet; the others say how it ended here.
Every member gives a sign of life each second; one that is silent for `LOST_SECONDS`, or whose connection ends before
the set does, is lost. No more is trusted to the network than the rendezvous of torch.distributed trusts it with.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from queue import Empty, SimpleQueue

import orjson

from laptime.config import Json
from laptime.errors import RunFailed, UserError
from laptime.harness.place import Place, server_at

BEAT_SECONDS = 1.0  # between two signs of life
LOST_SECONDS = 15.0  # of silence, or of not taking what is sent
JOIN_SECONDS = 600.0  # for all members to start: images are pulled, nodes boot
NAP_SECONDS = 0.2
LONGEST_WORD = 4 << 20  # bytes
Word = Mapping[str, Json]


class NodeLost(RunFailed):
    """Another member of the job is gone."""


class Line:
    """One end of a connection. `lost`: why there will be no more words; `peer`: who is at the other end, in words."""

    def __init__(self, connection: socket.socket, peer: str) -> None:
        self.peer = peer
        self.lost: str | None = None
        self._socket, self._inbox = connection, SimpleQueue[Word]()
        self._sending, self._closed = threading.Lock(), threading.Event()
        connection.settimeout(LOST_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for work in (self._listen, self._beat):
            threading.Thread(target=work, daemon=True).start()

    def say(self, kind: str, **content: Json) -> None:
        """Send a word; a line that is lost swallows it."""
        with self._sending:
            try:
                self._socket.sendall(orjson.dumps({"kind": kind, **content}) + b"\n")
            except OSError as error:
                self._lose(f"its connection broke ({_said(error)})")

    def word(self, patience: float | None = None) -> Word | None:
        """The next word; None after `patience` seconds without one. Raises NodeLost when no further one can come."""
        deadline = None if patience is None else time.monotonic() + patience
        nap = NAP_SECONDS if patience is None else min(NAP_SECONDS, patience)
        while True:
            lost = self.lost  # asked first: words that came before the end still count
            with contextlib.suppress(Empty):
                return self._inbox.get(block=not lost and nap > 0, timeout=nap or None)
            if lost:
                raise NodeLost(f"{self.peer} is lost: {lost}")
            if deadline is not None and time.monotonic() >= deadline:
                return None

    def close(self) -> None:
        self._closed.set()
        self.lost = self.lost or "the job has ended"
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _listen(self) -> None:
        try:
            with self._socket.makefile("rb") as lines:
                while line := lines.readline(LONGEST_WORD):
                    word = orjson.loads(line)
                    if isinstance(word, dict) and word.get("kind") != "alive":
                        self._inbox.put(word)
            self._lose("its connection ended")
        except TimeoutError:
            self._lose(f"nothing was heard of it for {LOST_SECONDS:.0f} s")
        except (OSError, ValueError) as error:
            self._lose(f"its connection broke ({_said(error)})")

    def _beat(self) -> None:
        while self.lost is None and not self._closed.wait(BEAT_SECONDS):
            self.say("alive")

    def _lose(self, why: str) -> None:
        self.lost = self.lost or why


@contextlib.contextmanager
def listening(place: Place, identity: Word) -> Iterator[dict[int, Line]]:
    """The lines to all other members, by their number, as soon as all are there; none to wait for when alone.

    Raises UserError when one does not come, or asks for something else than this member does.
    """
    lines: dict[int, Line] = {}
    try:
        if place.members > 1:
            with _server(place) as server:
                _gather(server, place, identity, lines)
        yield lines
    finally:
        for line in lines.values():
            line.close()


@contextlib.contextmanager
def connected(place: Place, identity: Word) -> Iterator[Line]:
    """The line to the first member. Raises UserError when it does not answer or will not have this member."""
    where = f"the first member at {place.address}:{place.port}"
    line = Line(_dialled(place, where), where)
    try:
        line.say("hello", member=place.member, host=socket.gethostname(), identity=identity)
        answer = line.word(JOIN_SECONDS)
        if answer is None or answer["kind"] != "welcome":
            raise UserError(str((answer or {}).get("text", f"{where} does not answer")))
        yield line
    finally:
        line.close()


def _server(place: Place) -> socket.socket:
    try:
        return server_at(place.address, place.port)
    except OSError as error:
        raise UserError(f"cannot listen at {place.address}:{place.port}: {_said(error)}",
                        hint="Choose another port with --rendezvous (under torchrun: --master-port).") from None


def _gather(server: socket.socket, place: Place, identity: Word, lines: dict[int, Line]) -> None:
    deadline = time.monotonic() + JOIN_SECONDS
    server.settimeout(NAP_SECONDS)
    while len(lines) < place.members - 1:
        if time.monotonic() > deadline:
            missing = sorted(set(range(1, place.members)) - set(lines))
            raise UserError(f"{len(missing)} of {place.members} members did not come within {JOIN_SECONDS:.0f} s, "
                            f"first number {missing[0]}", hint="Look at their output; all need the same --rendezvous.")
        with contextlib.suppress(TimeoutError):
            connection, address = server.accept()
            _admit(Line(connection, f"a program at {address[0]}"), place, identity, lines)


def _admit(line: Line, place: Place, identity: Word, lines: dict[int, Line]) -> None:
    """Take in a new member. What is no member is sent away; one that asks for something else ends the job."""
    hello: Word = {}
    with contextlib.suppress(NodeLost):
        hello = line.word(LOST_SECONDS) or {}
    member = hello.get("member")
    if not isinstance(member, int) or not 0 < member < place.members or member in lines:
        line.say("refused", text=f"no place for member {member}: it is not one of {place.members}, or there already")
        line.close()
        return
    line.peer = f"member {member} (on {hello.get('host')})"
    theirs = hello.get("identity")
    changed = [name for name in identity if not isinstance(theirs, dict) or theirs.get(name) != identity[name]]
    if changed:
        text = f"{line.peer} asks for another {changed[0].replace('_', ' ')} than the first one does"
        line.say("refused", text=text)
        time.sleep(NAP_SECONDS)  # for the word to arrive before the end of the connection
        line.close()
        raise UserError(text, hint="All members of a job need the same command, program and packages.")
    lines[member] = line
    line.say("welcome")


def _dialled(place: Place, where: str) -> socket.socket:
    deadline = time.monotonic() + JOIN_SECONDS
    while True:
        try:
            return socket.create_connection((place.address, place.port), timeout=LOST_SECONDS)
        except OSError as error:
            if time.monotonic() > deadline:
                raise UserError(f"{where} did not answer for {JOIN_SECONDS:.0f} s: {_said(error)}",
                                hint="Does it run, and can this node reach it?") from None
            time.sleep(NAP_SECONDS)


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
