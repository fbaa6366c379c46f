"""A process tree as vLLM makes it: a leader, an engine core and workers started by multiprocessing's spawn, its resource
tracker, shared memory and a named semaphore, and what engines can do wrong, by option.

    tree.py LIST [--workers N] [--stubborn] [--daemons] [--burst N] [--noise]

Each process appends `ROLE PID` to LIST, the leader `shm NAME` and, when all are there, `ready`.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import time

try:
    import rollbench_lease  # noqa: F401  (every spawn child runs this line again)
except ImportError:
    pass  # the bystander's tree

PR_SET_NAME = 15


def note(text):
    with open(LIST, "a") as file:
        file.write(text + "\n")


def title(name):
    """As vLLM: with setproctitle, which writes over the environment, where it is installed."""
    try:
        import setproctitle

        setproctitle.setproctitle(name)
    except ImportError:
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def join(role, name):
    title(name)
    note(f"{role} {os.getpid()}")


def stay():
    while True:
        time.sleep(60)


def detached(run):
    """Twice forked and in a session of its own: no group, no parent leads to it."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            run()
        os._exit(0)


def foreign_daemon():
    note(f"foreign-daemon {os.getpid()}")
    os.execvp("sleep", ["sleep", "1000"])


def python_daemon():
    join("python-daemon", "py-daemon")
    stay()


def worker(options, semaphore):
    if "--stubborn" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    join("worker", "VLLM::Worker_TP")
    stay()


def core(options, workers, semaphore):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    join("core", "VLLM::EngineCor")
    for _ in range(workers):
        multiprocessing.get_context("spawn").Process(target=worker, args=(options, semaphore)).start()
    stay()


def option(options, name, default):
    return int(options[options.index(name) + 1]) if name in options else default


def lines():
    with open(LIST) as file:
        return file.read().splitlines()


def main(options):
    from multiprocessing import shared_memory

    # As vLLM does: ends its children in order, and then itself.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    join("leader", "python-driver")
    segment = shared_memory.SharedMemory(create=True, size=1 << 20)
    note(f"shm {segment.name}")
    context = multiprocessing.get_context("spawn")
    semaphore = context.Semaphore()
    workers = option(options, "--workers", 2)
    child = context.Process(target=core, args=(options, workers, semaphore))
    child.start()
    expected = 1 + workers
    if "--daemons" in options:
        detached(foreign_daemon)
        detached(python_daemon)
        expected += 2
    burst = option(options, "--burst", 0)
    while sum(line.startswith(("core", "worker", "foreign", "python-d")) for line in lines()) < expected:
        time.sleep(0.01)
    note("ready")
    if burst:
        # Each forks another while it is being looked for.
        for _ in range(burst // 2):
            if os.fork() == 0:
                os.fork()
                stay()
    try:
        while child.is_alive():
            if "--noise" in options:
                print("x" * 4000, flush=True)
            else:
                time.sleep(0.05)
        sys.exit(3)
    finally:
        for process in multiprocessing.active_children():
            process.terminate()
        segment.close()
        segment.unlink()


LIST = sys.argv[1]
if __name__ == "__main__":
    main(sys.argv[2:])
