"""The lease: ends this process when rollbench is gone, even if the guard is gone too.

Imported at module level by rollbench's driver and server launcher, which multiprocessing's spawn children run again, so
that every Python process of the engine holds a lease of its own. The kernel sends the signal: no thread, no polling, and
a held GIL does not delay it.
"""

import fcntl
import os
import signal

_fd = None


def _end():
    os.kill(os.getpid(), signal.SIGKILL)


def _arm():
    global _fd
    path = os.environ.get("ROLLBENCH_LEASE")
    if not path:
        return
    if _fd is not None:
        # After a fork: the parent's, whose signals go to the parent.
        os.close(_fd)
        _fd = None
    try:
        _fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        # Removed with the run's folder, which stands as long as rollbench does.
        _end()
    fcntl.fcntl(_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(_fd, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(_fd, fcntl.F_SETFL, fcntl.fcntl(_fd, fcntl.F_GETFL) | os.O_ASYNC)
    # Nothing is ever written. Without a writer (it died before we were armed) reading ends at once.
    try:
        if os.read(_fd, 1) == b"":
            _end()
    except BlockingIOError:
        pass


def _name_shared_memory():
    """Names segments and semaphores after the run, so that those of a killed run can be told from anybody else's."""
    run = os.environ.get("ROLLBENCH_RUN")
    if not run:
        return
    from multiprocessing import process, shared_memory

    prefix = f"/rollbench-{run}"
    process.current_process()._config["semprefix"] = prefix
    shared_memory._SHM_NAME_PREFIX = prefix + "-"
    shared_memory._SHM_SAFE_NAME_LENGTH = len(prefix) + 17


_arm()
os.register_at_fork(after_in_child=_arm)
_name_shared_memory()
