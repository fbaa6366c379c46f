"""A warm interpreter: imports what an engine's processes import, once, and forks for each of them.

`warm.py ROLE FOLDER` is the block's interpreter: it forks the main program of each engine start (`driver.py` or
`server.py`) on rollbench's order. When that program, or a child of it, wants to start a process by multiprocessing's
spawn, it asks this interpreter instead. For every distinct environment that is asked for there is one more
interpreter (`warm.py child FOLDER ...`), executed with exactly what the spawned process would have been executed
with: environment (LD_PRELOAD and OpenMP's variables with it), processors, limits. A fork of that differs from a
spawned process only in having imported already; what is handed to it, and how, stays multiprocessing's.

Interpreters have one thread and touch no device; each looks for itself before it forks. What cannot be forked is
spawned as ever, and rollbench is told why.

Whatever is forked for a start is forked twice and so becomes a child of the guard: below an interpreter that rests
there is nothing but interpreters.
"""

import os
import sys

if os.environ.get("ROLLBENCH_LEASE"):
    # Forks run `_arm` of it again: nobody outlives the process that holds the lease.
    import rollbench_lease  # noqa: F401

import ctypes
import fcntl
import importlib
import json
import multiprocessing.connection
import resource
import select
import signal
import socket
import struct
import subprocess
import threading
import time
import types
from multiprocessing import popen_spawn_posix, util

PR_SET_PDEATHSIG = 1
LONGEST = 1 << 20
DEVICES = ("/dev/nvidia", "/dev/davinci", "/dev/devmm", "/dev/hisi", "/dev/kfd", "/dev/dri/")
LIMITS = sorted(value for name, value in vars(resource).items() if name.startswith("RLIMIT_"))
SPAWN = "from multiprocessing.spawn import spawn_main;"

# What the processes of an engine import, by version and platform where it moved; what is not there is passed over.
DRIVER = ("vllm.entrypoints.llm", "vllm.v1.engine.llm_engine")
SERVER = ("vllm.entrypoints.cli.main", "vllm.entrypoints.openai.api_server", "vllm.v1.engine.async_llm")
CHILD = ("vllm.v1.engine.core", "vllm.v1.executor.multiproc_executor")
WORKERS = {
    "cpu": ("vllm.v1.worker.cpu_worker", "vllm.v1.worker.cpu_model_runner"),
    "cuda": ("vllm.v1.worker.gpu_worker", "vllm.v1.worker.gpu_model_runner"),
    "npu": ("vllm_ascend.worker.worker", "vllm_ascend.worker.model_runner_v1"),
}


def import_all(role):
    import vllm  # noqa: F401
    from vllm.platforms import current_platform

    modules = {"driver": DRIVER, "server": SERVER, "child": CHILD}[role]
    if role == "child":
        modules += WORKERS.get(getattr(current_platform, "device_type", ""), ())
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError:
            pass


def unfit():
    """Why this process must not fork an engine; None if it may."""
    # A fork ends the idle threads of BLAS libraries, which come back when they are needed. Others stay, and would be
    # missing in the child.
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    tasks = len(os.listdir("/proc/self/task"))
    if tasks != 1:
        return f"importing vLLM left {tasks} threads running"
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith(DEVICES):
            return f"importing vLLM opened {target}"
    torch = sys.modules.get("torch")
    for name in ("cuda", "npu", "xpu"):
        module = getattr(torch, name, None)
        if module is not None and getattr(module, "is_initialized", bool)():
            return f"importing vLLM initialised {name}"
    return None


def send(connection, message, fds=()):
    socket.send_fds(connection, [json.dumps(message).encode() + b"\n"], fds)


def receive(connection):
    """A message with its descriptors; None at the end."""
    data, fds, _, _ = socket.recv_fds(connection, LONGEST, 64)
    return (json.loads(data), fds) if data else (None, fds)


def die_with(parent):
    """The kernel ends this process when its parent dies, which must still be this one."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def place(wanted):
    """Makes `wanted` ({number: descriptor}) the only open descriptors, and renews the lease.

    Sockets are to be detached before: their ends would close what has their numbers by then.
    """
    highest = max(wanted)
    moved = {number: fcntl.fcntl(fd, fcntl.F_DUPFD, highest + 1) for number, fd in wanted.items()}
    os.closerange(0, highest + 1)
    for number, fd in moved.items():
        os.dup2(fd, number)
    os.closerange(highest + 1, os.sysconf("SC_OPEN_MAX"))
    renew_lease()


def renew_lease():
    """After its descriptor was closed with the others."""
    lease = sys.modules.get("rollbench_lease")
    if lease is not None:
        lease._fd = None
        lease._arm()


def run_as_main(code, name, argv):
    """As the interpreter runs its main program."""
    main = types.ModuleType("__main__")
    if name is not None:
        main.__file__ = name
    sys.modules["__main__"] = main
    sys.argv = argv
    exec(code, vars(main))


# -- in the engine's processes -----------------------------------------------------------------------------------------


class Born:
    """A process that was forked where it would have been spawned. Its parent tells how it ended, in place of wait()."""

    def __init__(self, connection):
        self.connection = connection
        self.lock = threading.Lock()
        self.code = None

    def poll(self, flag):
        timeout = 0 if flag == os.WNOHANG else None
        if self.code is None and multiprocessing.connection.wait([self.connection], timeout):
            with self.lock:
                if self.code is None:
                    told = self.connection.recv(4)
                    # As multiprocessing's own server for forks has it when that is gone.
                    self.code = struct.unpack("i", told)[0] if len(told) == 4 else 255
        return self.code


def ask_instead_of_spawning(address):
    """Whatever multiprocessing spawns from now on, here and in forked children, is asked for at `address` first."""
    born = {}
    spawn, poll = util.spawnv_passfds, popen_spawn_posix.Popen.poll

    def spawnv_passfds(path, args, passfds):
        args = [os.fsdecode(arg) for arg in args]
        if os.fsdecode(path) != sys.executable or len(args) < 4 or not args[-2].startswith(SPAWN):
            return spawn(path, args, passfds)
        try:
            pid, connection = ask(address, args, passfds)
        except (OSError, ValueError) as error:
            tell(address, f"a process of the engine was spawned: {error}")
            return spawn(path, args, passfds)
        born[pid] = Born(connection)
        return pid

    def poll_either(self, flag=os.WNOHANG):
        child = born.get(self.pid)
        if child is None:
            return poll(self, flag)
        self.returncode = child.poll(flag)
        return self.returncode

    util.spawnv_passfds = spawnv_passfds
    popen_spawn_posix.Popen.poll = poll_either


def connect(address):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(address)
    return connection


def ask(address, args, passfds):
    """The pid of a fork that does what `args` would, and the connection on which its end is told."""
    with connect(address) as interpreter:
        wanted = {
            "options": args[1:-3],
            "environment": dict(os.environ),
            "processors": sorted(os.sched_getaffinity(0)),
            "limits": [resource.getrlimit(limit) for limit in LIMITS],
        }
        send(interpreter, {"find": wanted})
        answer, _ = receive(interpreter)
    if answer is None or "address" not in answer:
        raise ValueError((answer or {}).get("reason", "the warm interpreter has ended"))
    numbers = sorted({0, 1, 2, *passfds})
    connection = connect(answer["address"])
    order = {
        "code": args[-2],
        "argv": ["-c", *args[-1:]],
        "numbers": numbers,
        "group": os.getpgrp(),
        "ignored": ignored(),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    }
    send(connection, order, numbers)
    answer, _ = receive(connection)
    if answer is None or "pid" not in answer:
        connection.close()
        raise ValueError((answer or {}).get("reason", "the warm interpreter has ended"))
    return answer["pid"], connection


def tell(address, reason):
    try:
        with connect(address) as interpreter:
            send(interpreter, {"spawned": reason})
    except OSError:
        pass


def ignored():
    with open("/proc/self/status") as status:
        mask = next(int(line.split()[1], 16) for line in status if line.startswith("SigIgn"))
    return [number for number in range(1, 65) if mask >> (number - 1) & 1]


# -- in the interpreters -----------------------------------------------------------------------------------------------


class Interpreter:
    """What both kinds have in common. `serve` returns in forked processes only, with what they are to run."""

    def __init__(self, role, listener, guard):
        self.listener = listener
        self.guard = guard
        import_all(role)
        self.reason = unfit()

    def serve(self):
        while True:
            for ready in select.select(self.sources(), (), ())[0]:
                connection = self.listener.accept()[0] if ready is self.listener else ready
                message, fds = receive(connection)
                job = self.obey(message, fds, connection)
                if job is not None:
                    return job
                for fd in fds:
                    os.close(fd)
                if connection is not self.control():
                    connection.close()

    def sources(self):
        return [self.listener]

    def control(self):
        return None

    def adopted(self):
        """Waits until the process that forked us is gone and the guard is our parent."""
        parent = os.getppid()
        while (now := os.getppid()) == parent and now != self.guard:
            time.sleep(0.0002)
        if now != self.guard:
            os._exit(1)


class Child(Interpreter):
    """Forks what multiprocessing would have spawned."""

    def obey(self, message, fds, connection):
        if message is None:
            return None
        if "rests" in message:
            return send(connection, {"rests": True})
        if self.reason:
            return send(connection, {"reason": self.reason})
        if (pid := os.fork()) != 0:
            os.waitpid(pid, 0)
            return None
        if os.fork() != 0:
            os._exit(0)
        # The parent of the new process, as long as that lives: it tells how it ended.
        self.adopted()
        child = os.fork()
        if child != 0:
            keep = connection.fileno()
            os.closerange(3, keep)
            os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
            renew_lease()
            send(connection, {"pid": child})
            _, status = os.waitpid(child, 0)
            try:
                connection.send(struct.pack("i", os.waitstatus_to_exitcode(status)))
            except OSError:
                pass
            os._exit(0)
        for ours in (self.listener, connection):
            ours.detach()
        os.setpgid(0, message["group"])
        place(dict(zip(message["numbers"], fds)))
        # Execution would keep what is ignored and nothing else.
        for number in set(message["ignored"]) - set(ignored()):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, message["blocked"])
        code = compile(message["code"], "<string>", "exec")
        return lambda: run_as_main(code, None, message["argv"])


class Block(Interpreter):
    """Forks the main program of each engine start, and finds the interpreter for each child of it."""

    def __init__(self, role, folder):
        self.folder = folder
        self.address = os.path.join(folder, "warm")
        self.children = {}
        self.spawned = []
        self.orders = socket.socket(fileno=int(os.environ.pop("ROLLBENCH_WARM_FD")))
        self.orders.set_inheritable(False)
        super().__init__(role, listen(self.address), os.getppid())

    def sources(self):
        return [self.orders, self.listener]

    def control(self):
        return self.orders

    def obey(self, message, fds, connection):
        if message is None:
            if connection is self.orders:
                sys.exit(0)
        elif "find" in message:
            send(connection, self.find(message["find"]))
        elif "spawned" in message:
            self.spawned.append(message["spawned"])
        elif "rests" in message:
            for address in self.children.values():
                with connect(address) as child:
                    send(child, {"rests": True})
                    receive(child)
            send(connection, {"spawned": self.spawned})
        elif self.reason:
            send(connection, {"reason": self.reason})
        else:
            return self.lead(message, fds)
        return None

    def find(self, wanted):
        """The address of the interpreter that was executed as `wanted` says; one that is not there yet is made."""
        key = json.dumps(wanted, sort_keys=True)
        if key not in self.children:
            address = os.path.join(self.folder, f"warm{len(self.children)}")
            listener = listen(address)

            def prepare():
                os.sched_setaffinity(0, wanted["processors"])
                for limit, value in zip(LIMITS, wanted["limits"]):
                    resource.setrlimit(limit, value)

            numbers = map(str, (listener.fileno(), os.getpid(), self.guard))
            subprocess.Popen(
                [sys.executable, *wanted["options"], os.path.abspath(__file__), "child", self.folder, *numbers],
                env=wanted["environment"],
                stdin=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                preexec_fn=prepare,
            )
            listener.close()
            self.children[key] = address
        return {"address": self.children[key]}

    def lead(self, message, fds):
        self.spawned = []
        told, tell = os.pipe()
        if (pid := os.fork()) != 0:
            os.close(tell)
            os.waitpid(pid, 0)
            leader = os.read(told, 4)
            os.close(told)
            for fd in fds:
                os.close(fd)
            fds.clear()
            return send(self.orders, {"pid": struct.unpack("i", leader)[0]})
        if (leader := os.fork()) != 0:
            os.write(tell, struct.pack("i", leader))
            os._exit(0)
        self.adopted()
        die_with(self.guard)
        os.setpgid(0, 0)
        for ours in (self.orders, self.listener):
            ours.detach()
        log, *rest = fds
        wanted = {0: os.open(os.devnull, os.O_RDONLY), 1: log, 2: log}
        for name, fd in zip(message["variables"], rest):
            number = len(wanted)
            wanted[number] = fd
            os.environ[name] = str(number)
        place(wanted)
        ask_instead_of_spawning(self.address)
        script = message["lead"]
        sys.path[0] = os.path.dirname(script)
        with open(script, "rb") as file:
            code = compile(file.read(), script, "exec")
        return lambda: run_as_main(code, script, [script])


def listen(address):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen(64)
    return listener


def main():
    role, folder, *numbers = sys.argv[1:]
    if role == "child":
        listener, parent, guard = map(int, numbers)
        die_with(parent)
        interpreter = Child(role, socket.socket(fileno=listener), guard)
        ask_instead_of_spawning(os.path.join(folder, "warm"))
    else:
        interpreter = Block(role, folder)
    return interpreter.serve()


if __name__ == "__main__":
    main()()
