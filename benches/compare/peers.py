"""What every proxy under test is told, and the two that are compared most: weir and HAProxy.

Owns the neutral description of a proxy's job (`Job`), and how a peer is started, known and watched.
The other peers are in `peers_more.py`.
"""

import contextlib
import dataclasses
import hashlib
import http.client
import re
import socket

import install
import lab


@dataclasses.dataclass(frozen=True)
class Job:
    """What a proxy shall do, in words that each peer translates into its own configuration."""

    backend: int  # the port of the backend
    backend_h2: bool = False  # the backend speaks h2c (gRPC), else HTTP/1.1
    front_h2: bool = False  # clients speak h2c; all but nginx find out for themselves
    permits: int = 819  # requests at the backend at once; the rest wait
    immediate: bool = False  # the rest is refused at once
    wait_seconds: int | None = None  # how long a request may wait; None: what weir has by default
    pending: int = 1_000_000  # how many may wait, where time is no bound (Envoy)
    workers: int = 1
    clients: int = 5000  # connections of clients
    streams: int = 100  # concurrent streams of one HTTP/2 connection
    abort_on_close: bool = False  # who leaves is not waited for, where that has to be asked for
    cores: frozenset = frozenset()  # where it runs, if not on the proxy's core


class Peer:
    """One proxy under test: how it is configured and started, and how its queue is read."""

    name = ""
    # Whether requests can wait in it at all.
    queues = True
    # How many requests fill it so that the next one is refused, with one permit.
    holders = 1
    # Its load shedding, in words for the report.
    shedding = ""
    # Measurements that it cannot take part in, and why.
    cannot = {}

    def __init__(self, binary):
        self.binary = binary

    def version(self):
        """What it says it is."""
        raise NotImplementedError

    def command(self, bench, job, ports):
        """The command that runs it: listening on the first port, administered at the second."""
        raise NotImplementedError

    def environment(self, job, ports):
        """What it must find in its environment."""
        return {}

    def start(self, bench, job, wait=True):
        """Starts it on the proxy's core; returns it running."""
        ports = lab.free_port(), lab.free_port()
        command = self.command(bench, job, ports)
        env = self.environment(job, ports)
        process = bench.lab.start(command, job.cores or bench.lab.proxy_cores, env)
        running = Running(self, process, *ports)
        if wait:
            running.wait()
        return running

    def serving(self, process):
        """The id of the process that does the work."""
        return process.pid

    def queued(self, running):
        """How many requests wait in it."""
        raise NotImplementedError


class Running:
    """A peer that was started."""

    def __init__(self, peer, process, port, admin):
        self.peer, self.process, self.port, self.admin = peer, process, port, admin
        self.name = peer.name
        self.pid = None

    def wait(self):
        """Until it listens."""

        def listening():
            if self.process.poll() is not None:
                raise lab.Untrusted(f"{self.name} ended at its start: {lab.last_words(self.process)}")
            return lab.accepts(self.port)

        lab.eventually(f"{self.name} listens", listening, within=15)
        self.pid = self.peer.serving(self.process)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def queued(self):
        return self.peer.queued(self)

    def ask(self, path):
        """The body of one GET at its admin port."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def stop(self):
        lab.end(self.process)


class Weir(Peer):
    """weir with its default configuration, but for what the job says."""

    shedding = "queue.strategy = immediate"

    def __init__(self, binary, name="weir"):
        super().__init__(binary)
        self.name = name

    def version(self):
        said = install.says(self.binary, "version")
        # Two builds of one version are to be told apart.
        return said and f"{said}, sha256 {hashlib.sha256(self.binary.read_bytes()).hexdigest()[:12]}"

    def command(self, bench, job, ports):
        settings = {
            "listen": f"127.0.0.1:{ports[0]}",
            "admin.listen": f"127.0.0.1:{ports[1]}",
            "upstream": f"http://127.0.0.1:{job.backend}",
            "workers": job.workers,
            "memory.memory_per_task": "1Mi",
            "log.level": "warn",
            "drain.lame_duck": "0s",
        }
        if job.permits == 819:
            # What the default safety factor makes of a round number.
            settings["memory.target_memory"] = "1Gi"
        else:
            settings |= {"memory.target_memory": f"{job.permits}Mi", "memory.safety_factor": 1.0}
        if job.immediate:
            settings["queue.strategy"] = "immediate"
        if job.wait_seconds:
            settings |= {
                "queue.max_wait": f"{job.wait_seconds}s",
                "queue.max_bytes": "2Gi",
                "drain.timeout": f"{job.wait_seconds + 20}s",
                "drain.grace": f"{job.wait_seconds + 30}s",
            }
        if job.clients > 10_000:
            settings["limits.max_connections"] = job.clients
        if job.streams != Job.streams:
            settings["limits.h2_streams"] = job.streams
        pairs = (f"{key}={value}" for key, value in settings.items())
        return [self.binary, "run", *(word for pair in pairs for word in ("--set", pair))]

    def queued(self, running):
        found = re.search(r"^weir_queue_depth(?:\{[^}]*\})? (\d+)", running.ask("/metrics"), re.M)
        if not found:
            raise lab.Untrusted(f"{self.name} does not say how many requests wait")
        return int(found.group(1))


class Haproxy(Peer):
    """HAProxy, one thread per worker, a limited server and its queue; with its own Prometheus page.

    It is run as Debian builds it, `maxconn` raised for the clients there are, keeping all the
    connections to the backend that it can.
    """

    name = "haproxy"
    shedding = "http-request return status 503 if { srv_conn(b/s) ge 1 }"

    def __init__(self, binary, name="haproxy"):
        super().__init__(binary)
        self.name = name
        self.prometheus = "Prometheus exporter" in install.output(binary, "-vv")

    def version(self):
        return install.says(self.binary, "-v").removesuffix(" - https://haproxy.org/")

    def command(self, bench, job, ports):
        backend_h2 = " proto h2" if job.backend_h2 else ""
        refuse = ""
        if job.immediate:
            refuse = (
                f"http-request return status 503 content-type text/plain string overloaded "
                f"hdr Retry-After 1 if {{ srv_conn(b/s) ge {job.permits} }}"
            )
        abort = "option abortonclose" if job.abort_on_close else ""
        metrics = ""
        if self.prometheus:
            metrics = f"""
frontend metrics
  bind 127.0.0.1:{ports[1]}
  http-request use-service prometheus-exporter if {{ path /metrics }}
"""
        config = bench.lab.path("haproxy.cfg")
        self.socket = bench.lab.directory / f"{config.stem}.sock"
        config.write_text(f"""
global
  nbthread {job.workers}
  maxconn {job.clients}
  no strict-limits
  stats socket {self.socket}
  tune.h2.max-concurrent-streams {job.streams}
  # Else it keeps no connection to the backend once a quarter of its descriptors is in use.
  tune.pool-low-fd-ratio 90
  tune.pool-high-fd-ratio 95
defaults
  mode http
  timeout connect 1s
  timeout client 300s
  timeout server 300s
  timeout queue {job.wait_seconds or 1}s
  option http-keep-alive
  http-reuse always
  {abort}
frontend f
  bind 127.0.0.1:{ports[0]}
  maxconn {job.clients}
  option forwardfor
  {refuse}
  default_backend b
backend b
  server s 127.0.0.1:{job.backend}{backend_h2} maxconn {job.permits} pool-max-conn 1000
{metrics}""")
        return [self.binary, "-db", "-f", config]

    def start(self, bench, job, wait=True):
        running = super().start(bench, job, wait)
        running.socket = self.socket
        return running

    def queued(self, running):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(running.socket))
            connection.sendall(b"show stat\n")
            text = connection.makefile().read()
        lines = [line.split(",") for line in text.splitlines()]
        # Columns: proxy, server, queued now. Most wait at the backend, some at its server.
        return sum(int(line[2] or 0) for line in lines if line[:1] == ["b"])
