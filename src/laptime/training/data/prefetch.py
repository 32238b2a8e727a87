"""The next values of an iterator, made ahead by a thread, so that the consumer seldom waits."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

T = TypeVar("T")

PATIENCE_S = 0.05  # how often a waiting producer looks whether its consumer has gone


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True)
class _End:
    error: BaseException | None


class _Producer(Generic[T]):
    """A thread that fills a bounded queue from an iterator until told to stop."""

    def __init__(self, source: Callable[[], Iterable[T]], depth: int) -> None:
        self._source, self._stop = source, Event()
        self.queue: Queue[_Item[T] | _End] = Queue(depth)
        self.thread = Thread(target=self._work, name="prefetch", daemon=True)

    def close(self) -> None:
        """Stop and wait for the thread; its iterator is closed by then."""
        self._stop.set()
        while self.thread.is_alive():
            self._discard()
            self.thread.join(PATIENCE_S)

    def _discard(self) -> None:
        try:
            while True:
                self.queue.get_nowait()
        except Empty:
            return

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            self._produce(iter(self._source()))
        except BaseException as raised:  # handed to the consumer, which raises it
            error = raised
        self._put(_End(error))

    def _produce(self, values: Iterator[T]) -> None:
        try:
            for value in values:
                if not self._put(_Item(value)):
                    return
        finally:
            close = getattr(values, "close", None)
            if close is not None:
                close()

    def _put(self, item: "_Item[T] | _End") -> bool:
        while not self._stop.is_set():
            try:
                self.queue.put(item, timeout=PATIENCE_S)
                return True
            except Full:
                continue
        return False


def prefetched(source: Callable[[], Iterable[T]], depth: int = 3) -> Generator[T, None, None]:
    """The values of `source()`, up to `depth` made ahead in a thread.

    An error of the source is raised here, after the values before it. Closing this generator (or leaving it to the
    garbage collector) ends the thread and closes the source.
    """
    producer = _Producer(source, depth)
    producer.thread.start()
    try:
        while isinstance(item := producer.queue.get(), _Item):
            yield item.value
        if item.error is not None:
            raise item.error
    finally:
        producer.close()
