"""weir under callgrind, its two ends, and the one way to know that it has nothing left to do."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import time

# A request under callgrind takes milliseconds; what takes so long is stuck.
SECONDS_MAX = 20

HEAD_END = b"\r\n\r\n"
BODY = b"x" * 1024
RESPONSE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
)
TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


class Failure(Exception):
    """What kept a path from being measured."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def receive(sock, complete):
    """Reads until `complete` says so."""
    data = b""
    while not complete(data):
        try:
            more = sock.recv(65536)
        except TimeoutError:
            raise Failure(f"nothing came within {SECONDS_MAX} s after {data[:200]!r}") from None
        check(more, f"the connection was closed after {data[:200]!r}")
        data += more
    return data


def whole(message):
    """Whether this is a head and the body that its content-length announces."""
    head, found, body = message.partition(HEAD_END)
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(found) and len(body) >= (int(length[1]) if length else 0)


class Backend:
    """The process behind weir, played step by step."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(SECONDS_MAX)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections = []

    def request(self, weir):
        """Reads the one request that weir has sent by now, and says on which connection."""
        waiting = self.waiting(weir)
        check(len(waiting) == 1, f"{len(waiting)} requests have reached the backend, not 1")
        receive(waiting[0], whole)
        return waiting[0]

    def waiting(self, weir):
        """The connections on which there is something to read now that weir is at rest."""
        weir.settle()
        while self.readable([self.listener]):
            connection, _ = self.listener.accept()
            connection.settimeout(SECONDS_MAX)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections.append(connection)
        return self.readable(self.connections)

    @staticmethod
    def readable(sockets):
        return select.select(sockets, [], [], 0)[0]

    def close(self):
        for connection in [self.listener, *self.connections]:
            connection.close()


class Weir:
    """weir under callgrind, with one worker."""

    # What it runs under; `benches/allocations` looks at it by other means.
    under = (
        "valgrind",
        "--tool=callgrind",
        "--separate-threads=yes",
        "--callgrind-out-file={directory}/counts",
    )

    def __init__(self, binary, backend, settings, directory):
        self.directory = pathlib.Path(directory)
        self.port, self.admin_port = free_port(), free_port()
        settings = {
            "listen": f"127.0.0.1:{self.port}",
            "admin.listen": f"127.0.0.1:{self.admin_port}",
            "upstream": backend.url,
            "workers": "1",
            "memory.memory_per_task": "1Mi",
            "memory.safety_factor": "1.0",
            "queue.max_wait": "15s",
            "drain.lame_duck": "0s",
            # One line a second says nothing of what a request costs.
            "log.level": "error",
            # Longer than any step: a connection that a timer closed would be made anew.
            "timeouts.upstream_idle": "1m",
        } | settings
        command = [
            *(word.format(directory=self.directory) for word in self.under),
            str(binary),
            "run",
            *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")),
        ]
        env = {k: v for k, v in os.environ.items() if not k.startswith("WEIR__")}
        with open(self.directory / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        self.tasks = pathlib.Path(f"/proc/{self.process.pid}/task")
        deadline = time.monotonic() + SECONDS_MAX
        while not self.is_ready():
            check(self.process.poll() is None, f"weir ended at start:\n{self.log()}")
            check(time.monotonic() < deadline, f"weir is not ready:\n{self.log()}")
            time.sleep(0.05)

    def is_ready(self):
        with contextlib.suppress(OSError):
            return self.admin("/readyz")[0] == 200
        return False

    def admin(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=SECONDS_MAX)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def status(self):
        """The figures of this moment. `/metrics` reads `/proc` by way of rustix, which valgrind
        3.19 ends with an assertion of its own."""
        return json.loads(self.admin("/status")[1])

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), SECONDS_MAX)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def settle(self):
        """Waits until every thread sleeps, seen twice: weir has done what there was to do.

        Sending on loopback makes the receiver runnable before it returns, so a thread that is
        going to work is not taken for one that sleeps.
        """
        deadline = time.monotonic() + SECONDS_MAX
        seen = 0
        while seen < 2:
            seen = seen + 1 if self.is_asleep() else 0
            check(time.monotonic() < deadline, f"weir does not come to rest:\n{self.log()}")
            time.sleep(0.0002)

    def is_asleep(self):
        stats = (task.joinpath("stat").read_text() for task in self.tasks.iterdir())
        return all(stat.rpartition(") ")[2][0] == "S" for stat in stats)

    def log(self):
        return (self.directory / "log").read_text(errors="replace")[-4000:]

    def worker_number(self):
        """callgrind numbers threads in the order in which they began, and so does the kernel."""
        tasks = sorted(self.tasks.iterdir(), key=lambda task: int(task.name))
        names = [task.joinpath("comm").read_text().strip() for task in tasks]
        workers = [at for at, name in enumerate(names, 1) if name.startswith("weir-worker")]
        check(len(workers) == 1, f"one worker was to be among the threads {names}")
        return workers[0]

    def end(self):
        """Drains it; the instructions that its worker took from its start to its end."""
        worker = self.worker_number()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise Failure(f"weir did not end:\n{self.log()}") from None
        check(code == 0, f"weir ended with {code}:\n{self.log()}")
        counts = (self.directory / f"counts-{worker:02}").read_text()
        return int(TOTALS.search(counts)[1])

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def instructions(binary, path, requests, directory):
    """What the worker takes in a whole life of weir with so many requests on that path."""
    with contextlib.ExitStack() as stack:
        backend = Backend()
        stack.callback(backend.close)
        weir = Weir(binary, backend, path.settings, directory)
        stack.callback(weir.close)
        path.drive(weir, backend, requests)
        path.verify(weir.status(), requests)
        return weir.end()
