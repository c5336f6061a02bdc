r"""Interrupts from the keyboard, at moments when they can do no harm."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class DeferredInterrupt:
    r"""Keeps an interrupt until it is asked for; a second one acts at once.

    Python raises ``KeyboardInterrupt`` between any two instructions: between what
    belongs together, or where it is swallowed, as in a destructor. Within a ``with``
    block it is raised by :meth:`check`, or at the end of the block. It has no effect in
    other threads than the main one, or if the program handles interrupts itself.
    """

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self._has_come = False
        self._is_installed = False

    def __enter__(self) -> DeferredInterrupt:
        """Start to keep interrupts."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._keep)
            self._is_installed = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Raise what was kept, unless there is an error already."""
        if self._is_installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raise an interrupt that was kept.

        Raises:
            KeyboardInterrupt: If there is one.
        """
        if self._has_come:
            raise KeyboardInterrupt

    def _keep(self, number: int, frame: FrameType | None) -> None:
        if self._has_come:
            signal.default_int_handler(number, frame)
        self._has_come = True
