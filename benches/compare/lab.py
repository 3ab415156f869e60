"""Everything that is started: pinned to its cores, bounded in time, and ended whatever happens.

Owns processes, ports and the scratch directory.
"""

import contextlib
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import machine


class Untrusted(Exception):
    """Something was not as it should be: the number must not be used."""


def environment():
    """The environment of every child: no proxies, no configuration of weir's own."""
    unwanted = ("http_proxy", "https_proxy", "all_proxy")
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("WEIR__") and key.lower() not in unwanted
    }
    paths = env.get("PATH", "/usr/bin:/bin").split(":")
    for extra in (str(pathlib.Path.home() / ".cargo" / "bin"), "/usr/local/sbin", "/usr/sbin", "/sbin"):
        if extra not in paths:
            paths.append(extra)
    env["PATH"] = ":".join(paths)
    return env


def free_port():
    """A port of the loopback address that is free, and was so a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def descriptors():
    """How many files one process may have open; the soft limit is raised to the hard one first."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def accepts(port):
    """Whether somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def eventually(what, condition, within, every=0.02):
    """Waits until the condition holds, or says that it never did."""
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            raise Untrusted(f"{what}: not within {within} s")
        time.sleep(every)


class Lab:
    """The processes and files of one run of the harness, or of one measurement in it."""

    def __init__(self):
        self.proxy_cores, self.load_cores = machine.cores()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="weir-compare-"))
        # Whether what was to run at real-time priority does.
        self.realtime = False
        # nginx's workers may run as nobody, and read the files that they serve.
        self.directory.chmod(0o755)
        self.processes = []
        self.stack = contextlib.ExitStack()
        self.stack.callback(shutil.rmtree, self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def keep(self, thing):
        """Has it closed with this lab, last one first."""
        self.stack.callback(thing.close)
        return thing

    def path(self, name):
        """A path in the scratch directory, under a name that only this call gets."""
        stem, dot, suffix = name.partition(".")
        handle, path = tempfile.mkstemp(prefix=f"{stem}-", suffix=dot + suffix, dir=self.directory)
        os.close(handle)
        os.chmod(path, 0o644)
        return pathlib.Path(path)

    def start(self, command, cores, env=None, stdin=subprocess.DEVNULL, stdout=None, realtime=False):
        """Starts a program on these cores; it is ended with this lab."""
        log = self.path(f"{pathlib.Path(command[0]).name}.log")
        # A child inherits the cores and the priority of the thread that starts it.
        os.sched_setaffinity(0, cores)
        if realtime:
            self.realtime = prioritised(os.SCHED_RR, 1)
        try:
            with log.open("ab") as out:
                process = subprocess.Popen(
                    [str(word) for word in command],
                    cwd=self.directory,
                    env=environment() | (env or {}),
                    stdin=stdin,
                    stdout=stdout or out,
                    stderr=out,
                    # Ctrl-C is for the harness alone, which then ends its children itself.
                    start_new_session=True,
                )
        finally:
            os.sched_setaffinity(0, self.load_cores)
            if realtime:
                prioritised(os.SCHED_OTHER, 0)
        process.log = log
        self.processes.append(process)
        self.stack.callback(end, process)
        return process

    def cpu(self):
        """CPU seconds of this program and of all it has started, ended or not."""
        times = os.times()
        total = times.user + times.system + times.children_user + times.children_system
        for process in self.processes:
            if process.poll() is None:
                with contextlib.suppress(OSError):
                    # Of the ended ones the kernel has added it up; a worker's goes to its master.
                    total += sum(sum(machine.cpu(pid)) for pid in (process.pid, *machine.children(process.pid)))
        return total

    def run(self, command, within):
        """Runs a load generator on the load cores to its end; returns what it printed."""
        process = self.start(command, self.load_cores, stdout=subprocess.PIPE)
        try:
            out, _ = process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            raise Untrusted(f"{command[0]} did not end within {within} s") from None
        finally:
            end(process)
        if process.returncode:
            raise Untrusted(f"{command[0]} ended with {process.returncode}: {last_words(process)}")
        return out.decode(errors="replace")


def prioritised(policy, priority):
    """Gives this thread a priority, if it has the right to."""
    try:
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except PermissionError:
        return False
    return True


def last_words(process, lines=6):
    """The end of what a process wrote to its log."""
    return " | ".join(process.log.read_text(errors="replace").splitlines()[-lines:])[-800:]


def end(process):
    """Ends a process and all it has started: asks, then insists."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            # Its group is its own, and the number is in use as long as nobody has waited for it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
