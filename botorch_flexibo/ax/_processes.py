r"""Worker processes that can be stopped, and that die alone.

A ``ProcessPoolExecutor`` with several workers is lost as a whole when one of them dies,
and none of its tasks can be stopped. Here each worker is a pool of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
)
from contextlib import suppress
from functools import partial
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

_T = TypeVar("_T")
_START_LIMIT_S = 60.0


class TimedFuture(Future[_T]):
    """A future that stands for another one, and knows when its task started.

    Attributes:
        started_at: The time of ``time.monotonic`` then, None before.
    """

    started_at: float | None = None

    def __init__(self, inner: Future[_T]) -> None:
        """Future.

        Args:
            inner: The future that it stands for.
        """
        super().__init__()
        self._inner = inner

    def cancel(self) -> bool:
        """Cancel the task, if no process has got it yet.

        Returns:
            Whether it was cancelled.
        """
        return self._inner.cancel() and super().cancel()

    def set_running_or_notify_cancel(self) -> bool:
        """Start, unless it was cancelled.

        Returns:
            Whether it was not.
        """
        self.started_at = time.monotonic()
        return super().set_running_or_notify_cancel()


class IsolatedProcessPool(Executor):
    r"""An executor with one process per running task.

    Processes are started by a fork server where there is one, else anew ("spawn"), and
    are used again. They import what the submitted function needs, and nothing else; so
    it must be importable: the top level of a module, and in a script behind
    ``if __name__ == "__main__":`` whatever starts the run.

    A process that dies takes one task with it. There are as many processes as there
    ever were tasks at once.

    Example:
        >>> from botorch_flexibo.ax.executors import IsolatedProcessPool
        >>> with IsolatedProcessPool() as pool:
        ...     pool.submit(max, 1, 2).result()
        2
    """

    def __init__(self, mp_context: BaseContext | None = None) -> None:
        """Pool; processes are started when they are needed.

        Args:
            mp_context: How to start processes. None means by a fork server, or anew
                where there is none.
        """
        if mp_context is None:
            methods = multiprocessing.get_all_start_methods()
            method = "forkserver" if "forkserver" in methods else "spawn"
            mp_context = multiprocessing.get_context(method)
        self._context = mp_context
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._is_shut_down = False

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Run a function in a process that has nothing else to do.

        Args:
            fn: The function.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            A future that is running once the process has imported the function. It ends
            with ``BrokenExecutor`` if that is not possible, and with ``RuntimeError``
            if the process dies later.

        Raises:
            RuntimeError: If the pool is shut down.
        """
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("Expected a pool in use, but it is shut down.")
            self._workers = [worker for worker in self._workers if not worker.is_dead]
            for worker in self._workers:
                if worker.is_idle:
                    with suppress(BrokenExecutor):  # it has died meanwhile
                        return worker.run(partial(fn, *args, **kwargs), fn)
            worker = _Worker(self._context)
            self._workers.append(worker)
            return worker.run(partial(fn, *args, **kwargs), fn)

    def kill(self, future: Future[Any]) -> None:
        """Stop the process that works on a task.

        Args:
            future: A future of this pool that is running.
        """
        with self._lock:
            for worker in self._workers:
                if worker.task is future:
                    worker.kill()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all processes when their tasks are done.

        Args:
            wait: Whether to wait for that.
            cancel_futures: Whether to drop tasks that have not started.
        """
        with self._lock:
            self._is_shut_down = True
            workers = list(self._workers)
        for worker in workers:
            worker.pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def terminate(self) -> None:
        """End all processes now; their tasks fail."""
        with self._lock:
            self._is_shut_down = True
            workers = list(self._workers)
        for worker in workers:
            if not worker.is_idle:
                worker.kill()
        for worker in workers:
            worker.pool.shutdown(wait=True, cancel_futures=True)


class _Worker:
    """One process."""

    def __init__(self, context: BaseContext) -> None:
        self.pool = ProcessPoolExecutor(
            max_workers=1,
            mp_context=context,
            # An interrupt from the keyboard reaches all processes; the parent decides.
            initializer=signal.signal,
            initargs=(signal.SIGINT, signal.SIG_IGN),
        )
        self.task: Future[Any] | None = None
        self.is_dead = False
        self._call: Future[Any] | None = None
        self._lock = threading.Lock()
        self._has_worked = False
        self._pid = self.pool.submit(os.getpid)

    @property
    def is_idle(self) -> bool:
        return self._call is None or self._call.done()

    def run(self, call: Callable[[], _T], function: Callable[..., Any]) -> Future[_T]:
        """Start a call once the process knows the function."""
        # Whether it can be called is of no interest; asking makes the process import
        # it.
        ready: Future[Any] = self.pool.submit(callable, function)
        inner = self.pool.submit(call)
        outer: TimedFuture[_T] = TimedFuture(inner)
        self.task, self._call = outer, inner
        ready.add_done_callback(partial(self._on_ready, outer))
        inner.add_done_callback(partial(self._on_done, outer, ready))
        return outer

    def kill(self) -> None:
        """Stop the process."""
        self.is_dead = True
        number = signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL
        # One that died by itself is gone, or dies while it starts.
        with suppress(BrokenExecutor, CancelledError, TimeoutError, ProcessLookupError):
            os.kill(self._pid.result(timeout=_START_LIMIT_S), number)

    def _on_ready(self, outer: Future[Any], ready: Future[Any]) -> None:
        if ready.cancelled() or ready.exception() is not None:
            return
        self._has_worked = True
        with self._lock:
            if not outer.done():
                outer.set_running_or_notify_cancel()

    def _on_done(
        self, outer: Future[_T], ready: Future[Any], inner: Future[_T]
    ) -> None:
        if inner.cancelled():
            with self._lock:
                if outer.cancel():
                    outer.set_running_or_notify_cancel()
                    return
            outer.set_exception(CancelledError())
            return
        error = inner.exception()
        if error is None:
            outer.set_result(inner.result())
            return
        if isinstance(error, BrokenExecutor):
            self.is_dead = True
        outer.set_exception(self._explained(error, ready))

    def _explained(self, error: BaseException, ready: Future[Any]) -> BaseException:
        """The error of a task, or what the death of its process means."""
        not_known = not ready.cancelled() and ready.exception() is not None
        if not self._has_worked or (
            not_known and not isinstance(error, BrokenExecutor)
        ):
            explained: BaseException = BrokenExecutor(
                "Expected a function that worker processes can import, but they cannot:"
                f" {error}. Define it at the top level of a module (not in a notebook,"
                " not as a lambda), and start the run behind"
                " `if __name__ == '__main__':`."
            )
        elif isinstance(error, BrokenExecutor):
            explained = RuntimeError(
                "The process of the measurement died: killed, out of memory, crashed,"
                " or its result or error could not be sent."
            )
        else:
            return error
        explained.__cause__ = error
        return explained
