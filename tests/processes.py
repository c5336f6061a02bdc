r"""Real processes, forked from a server that has imported the package and Ax once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

PROCESSES = multiprocessing.get_context("forkserver")
# Without Ax its helpers cannot be imported, and are left out.
PROCESSES.set_forkserver_preload(
    ["pytest", "botorch_flexibo", "tests.runs", "tests.ax.helpers"]
)


def _send_result(
    sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    sender.send(function(*arguments))


def in_another_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process of its own."""
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(
        target=_send_result, args=(sender, function, arguments), daemon=True
    )
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()
