"""What every wire case stands on: a weir process, its metrics, bounded waits, checks."""

import contextlib
import http.client
import itertools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import backends


class Failure(AssertionError):
    """What a case expected and did not see."""


class Skip(Exception):
    """Why a case cannot run here: a right that the kernel does not grant."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def equal(got, want, what):
    check(got == want, f"{what}: got {short(got)}, want {short(want)}")


def short(value):
    text = repr(value)
    return text if len(text) < 600 else f"{text[:400]} … {text[-150:]}"


def eventually(what, condition, within=3.0):
    """Waits until `condition` holds, bounded; returns what it returned."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < deadline, f"not within {within} s: {what}")
        time.sleep(0.005)


# Below the kernel's ephemeral range, so that no outgoing connection takes a port between the
# moment it is found free and the moment weir binds it.
_ports = itertools.count(12000 + os.getpid() % 8000)


def free_port():
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise Failure("no free port")


SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """One scrape."""

    def __init__(self, text):
        self.series = []
        for line in text.splitlines():
            if found := SERIES.match(line):
                name, labels, value = found.groups()
                self.series.append((name, dict(LABEL.findall(labels or "")), float(value)))

    def total(self, name, **labels):
        """The sum over every series of that name with these labels; absent is an error."""
        found = [
            value
            for series, has, value in self.series
            if series == name and labels.items() <= has.items()
        ]
        check(found, f"no series {name}{labels or ''} in /metrics")
        return sum(found)


def toml(settings):
    """Dotted keys are TOML, and strings, numbers, booleans and lists are written as in JSON."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())


class Weir:
    """A running weir in front of a backend."""

    def __init__(self, binary, directory, upstream, permits, settings, ready=True):
        self.binary = binary
        self.port, self.admin_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = {
            "listen": f"127.0.0.1:{self.port}",
            "upstream": upstream,
            "admin.listen": f"127.0.0.1:{self.admin_port}",
            "memory.target_memory": f"{permits}Mi",
            "memory.memory_per_task": "1Mi",
            "memory.safety_factor": 1.0,
            "log.format": "json",
        } | settings
        self.permits = permits
        self.file = directory / f"weir-{self.port}.toml"
        self.file.write_text(toml(self.settings))
        self.log_path = directory / f"weir-{self.port}.log"
        self.over = False  # the case has seen it end
        self.process = spawn([binary, "run", "--config", self.file], self.log_path)
        if ready:
            eventually("weir is ready", self.is_ready, within=10)

    def is_ready(self):
        check(self.process.poll() is None, f"weir ended with {self.process.poll()} at start")
        with contextlib.suppress(OSError):
            return self.admin("/readyz")[0] == 200
        return False

    def admin(self, path, method="GET"):
        """Status and body of one request to the admin port."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=5)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metrics(self):
        status, text = self.admin("/metrics")
        equal(status, 200, "status of /metrics")
        return Metrics(text)

    def total(self, name, **labels):
        return self.metrics().total(name, **labels)

    def outcome(self, outcome):
        return self.total("weir_requests_total", outcome=outcome)

    def rejected(self, reason):
        return self.total("weir_rejected_total", reason=reason)

    def in_flight(self):
        return self.total("weir_in_flight")

    def queued(self):
        return self.total("weir_queue_depth")

    def rest(self):
        """In flight, queued, bytes queued, permits available."""
        now = self.metrics()
        names = ("weir_in_flight", "weir_queue_depth", "weir_queue_bytes", "weir_available_permits")
        return tuple(int(now.total(name)) for name in names)

    def assert_at_rest(self, within=3.0):
        want = (0, 0, 0, self.permits)
        try:
            eventually("weir is at rest", lambda: self.rest() == want, within)
        except Failure:
            equal(self.rest(), want, f"{within} s after the case: in flight, queued, bytes, available")

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def ended(self, within):
        """The exit code, which must come within so many seconds."""
        self.over = True
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise Failure(f"weir did not end within {within} s") from None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(5)


def clean_environment():
    return {k: v for k, v in os.environ.items() if not k.startswith("WEIR__")}


def spawn(command, log_path):
    with open(log_path, "ab") as log:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=clean_environment(),
        )


class Case:
    """What one case has started, all of it ended by `close`."""

    def __init__(self, name, binary, directory):
        self.name = name
        self.binary = binary
        self.directory = pathlib.Path(directory) / name
        self.directory.mkdir()
        self.weirs = []
        self.stack = contextlib.ExitStack()

    def keep(self, thing):
        """Has it closed when the case ends, last one first."""
        self.stack.callback(thing.close)
        return thing

    def weir(self, upstream, permits=64, ready=True, **settings):
        """A weir before `upstream`: a backend or a URL. Settings are written `queue__max_wait`."""
        url = upstream if isinstance(upstream, str) else upstream.url
        dotted = {key.replace("__", "."): value for key, value in settings.items()}
        weir = self.keep(Weir(self.binary, self.directory, url, permits, dotted, ready))
        self.weirs.append(weir)
        return weir

    def plain(self, handler=backends.default_handler):
        return self.keep(backends.Plain(handler))

    def nginx(self):
        port, h2_port = free_port(), free_port()
        backend = self.keep(backends.Nginx(self.directory, port, h2_port, spawn))
        for number in (port, h2_port):
            eventually("nginx listens", lambda n=number: accepts(n), within=10)
        return backend

    def run_weir(self, *arguments, env=None, within=10):
        """Runs a short-lived weir command to its end."""
        return subprocess.run(
            [str(self.binary), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            cwd=self.directory,
            env=clean_environment() | (env or {}),
            check=False,
        )

    def assert_at_rest(self):
        """What holds at the end of every case."""
        for weir in self.weirs:
            check("panicked" not in weir.log(), "a panic in weir's log")
            if not weir.over:
                check(weir.process.poll() is None, f"weir ended with {weir.process.poll()}")
                weir.assert_at_rest()

    def logs(self):
        tails = []
        for weir in self.weirs:
            tails += weir.log().splitlines()[-12:]
        return "\n".join(f"| {line[:400]}" for line in tails)

    def close(self):
        self.stack.close()


def accepts(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
