"""The life of the process as requests need to know it: serving, or draining."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Lifecycle:
    """Says whether the gateway is draining, and tells those who wait for long when it begins to."""

    def __init__(self) -> None:
        self._is_draining = False
        self._told: set[Callable[[], None]] = set()

    @property
    def is_draining(self) -> bool:
        """Whether the process is about to stop: long answers end now, readiness is refused."""
        return self._is_draining

    def begin_draining(self) -> None:
        """Tell everybody who waits. A second call changes nothing."""
        self._is_draining = True
        for tell in tuple(self._told):
            tell()

    @contextmanager
    def telling(self, tell: Callable[[], None]) -> Iterator[None]:
        """Call `tell` once draining begins, or at once if it has."""
        self._told.add(tell)
        try:
            if self._is_draining:
                tell()
            yield
        finally:
            self._told.discard(tell)
