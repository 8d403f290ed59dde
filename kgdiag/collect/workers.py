"""Threads that never keep the program from ending.

``concurrent.futures`` waits for its threads when the interpreter exits, so that a name server or a host that
does not answer would hold back the error that says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Workers:
    """At most ``size`` daemon threads, started as they are needed, that take jobs in the order given."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._open = 0

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Run the function in a thread; its result or exception is in the Future."""
        future: Future[T] = Future()
        self._jobs.put((future, lambda: function(*args)))
        with self._lock:
            self._open += 1
            start = self._open > self._threads and self._threads < self._size
            self._threads += start
        if start:
            threading.Thread(target=self._work, name="kgdiag-collect", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            future, job = self._jobs.get()
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)
            with self._lock:
                self._open -= 1


def within(seconds: float | None, function: Callable[..., T], *args: Any) -> T:
    """The function's result; TimeoutError where it takes longer (it is then left running)."""
    return Workers(1).submit(function, *args).result(seconds)
