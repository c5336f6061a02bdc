r"""One writer per file: locks that end with the process that took them.

A lock is a file that its owner holds with ``flock``, which the operating system ends
with the owner, also after a SIGKILL. Inside stands who the owner is, for messages and
for the two cases in which ``flock`` says too little: locks of other machines, which a
shared file system may not pass on, and systems without ``flock`` (Windows, some network
file systems). There the text decides: an owner that may still run is believed.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from botorch_flexibo.exceptions import ExperimentLockedError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# What `flock` answers on a file system that has no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_NO_FOLLOW = 0 if sys.platform == "win32" else os.O_NOFOLLOW

# Held while a file is locked, released or saved: one thread at a time.
guard = threading.RLock()


@dataclass(frozen=True, kw_only=True)
class LockOwner:
    r"""Who took a lock.

    Attributes:
        pid: The process.
        host: The name of its machine.
        process_start: What tells the process from a later one with the same ``pid``,
            None where the system does not say (no ``/proc``).
        taken: When the lock was taken, in UTC.
    """

    pid: int
    host: str
    process_start: str | None
    taken: str

    @classmethod
    def this_process(cls) -> LockOwner:
        """The running process, now."""
        return cls(
            pid=os.getpid(),
            host=socket.gethostname(),
            process_start=_process_start(os.getpid()),
            taken=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @classmethod
    def from_json(cls, text: bytes) -> LockOwner | None:
        """The owner that a lock file names, None if it names none."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def is_running(self) -> bool:
        """Whether the process may still run on this machine."""
        return self.process_start is None or (
            _process_start(self.pid) == self.process_start
        )

    def is_this_process(self) -> bool:
        """Whether it is the running process."""
        here = LockOwner.this_process()
        return (self.pid, self.host, self.process_start) == (
            here.pid,
            here.host,
            here.process_start,
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.taken})"


@dataclass(frozen=True, kw_only=True)
class _HeldLock:
    """An open lock file, and whether the operating system locks it."""

    descriptor: int
    inode: tuple[int, int]
    by_system: bool

    def is_open(self) -> bool:
        """Whether the descriptor still stands for the lock file.

        A process that becomes a daemon closes all its descriptors, and later files
        get their numbers.
        """
        try:
            return _inode(os.fstat(self.descriptor)) == self.inode
        except OSError:
            return False

    def guards(self, lock: Path) -> bool:
        """Whether this is the file under that name, not one that was removed."""
        try:
            return self.is_open() and _inode(lock.stat()) == self.inode
        except OSError:
            return False

    def close(self) -> None:
        """Give the lock up in this process."""
        if self.is_open():
            os.close(self.descriptor)


_held: dict[Path, _HeldLock] = {}


def acquire(lock: Path) -> bool:
    r"""Take a lock for this process until it ends or releases it.

    Args:
        lock: The lock file; it is created.

    Returns:
        True if the lock was taken now, False if this process had it already.

    Raises:
        ExperimentLockedError: If another process has it.
    """
    with guard:
        held = _held.get(lock)
        if held is not None and held.guards(lock):
            return False
        if held is not None:
            del _held[lock]
            held.close()
        while (held := _try_to_take(lock)) is None:
            pass  # its owner released it, and so removed it, in this instant
        _held[lock] = held
        return True


def release(lock: Path) -> None:
    """Give a lock up and remove its file, if this process has it."""
    with guard:
        held = _held.pop(lock, None)
        if held is None:
            return
        if not held.guards(lock):
            held.close()
            return
        with suppress(OSError):
            os.ftruncate(held.descriptor, 0)
        # The file goes before its lock, lest another process take a lock on a file
        # that is about to go; without system locks an open file may not be removable.
        if not held.by_system:
            held.close()
        with suppress(OSError):
            lock.unlink()
        if held.by_system:
            held.close()


def _try_to_take(lock: Path) -> _HeldLock | None:
    """Take a lock, or None if its file was removed meanwhile."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o600)
    try:
        by_system = _lock_descriptor(descriptor, lock)
        held = _HeldLock(
            descriptor=descriptor,
            inode=_inode(os.fstat(descriptor)),
            by_system=by_system,
        )
        if held.guards(lock):
            _refuse_living_owner(held, lock)
            _write_owner(descriptor)
            return held
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _lock_descriptor(descriptor: int, lock: Path) -> bool:
    """Lock an open file; False if the system has no locks for it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _read_owner(descriptor)
        raise ExperimentLockedError(_refusal(lock, owner)) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _refuse_living_owner(held: _HeldLock, lock: Path) -> None:
    """Refuse a lock whose owner the operating system cannot speak for."""
    owner = _read_owner(held.descriptor)
    if owner is None or owner.is_this_process():
        return
    is_here = owner.host == socket.gethostname()
    if is_here and (held.by_system or not owner.is_running()):
        return  # it ended without releasing the lock
    raise ExperimentLockedError(
        f"{_refusal(lock, owner)} Whether it still runs cannot be seen from here: if it"
        f" does not, remove {lock}."
    )


def _refusal(lock: Path, owner: LockOwner | None) -> str:
    """What to say about a lock of another process."""
    name = "another process" if owner is None else str(owner)
    return (
        f"Expected to be the only writer, but got {lock} held by {name}. Wait until it"
        " ends, or save under another name."
    )


def _read_owner(descriptor: int) -> LockOwner | None:
    """The owner that an open lock file names."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    return LockOwner.from_json(os.read(descriptor, 1 << 16))


def _write_owner(descriptor: int) -> None:
    """Name this process in an open lock file."""
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(asdict(LockOwner.this_process())).encode())


def _process_start(pid: int) -> str | None:
    """Boot and start tick of a living process, None if there is none or no ``/proc``.

    A process that has ended, but was not waited for, does not count as living.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = status.rpartition(")")[2].split()  # from the third field on
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"


def _inode(status: os.stat_result) -> tuple[int, int]:
    """What tells a file from all others."""
    return status.st_dev, status.st_ino


def _release_all() -> None:
    """Release every lock at the end of the process."""
    for lock in list(_held):
        release(lock)


def _disown_in_child() -> None:
    """Leave the locks to the parent; unless closed here they would outlive it."""
    for held in _held.values():
        held.close()
    _held.clear()
    guard.release()


atexit.register(_release_all)
if sys.platform != "win32":
    os.register_at_fork(
        before=guard.acquire,
        after_in_parent=guard.release,
        after_in_child=_disown_in_child,
    )
