"""CPU per proxied request: bodies of three sizes, new connections, h2c, gRPC, and what one core carries."""

import backends
import crowd
import load
import peers
from bench import measurement
from machine import Watch

KIB, MIB = 1 << 10, 1 << 20
NOTE = "CPU of the proxy's process (user + system, /proc/PID/stat) by the requests; all were answered with 200"


def rounds(bench, table, running, requests, within=150, **how):
    """Samples of CPU per request under h2load, after a short run that is not counted."""
    path = how.pop("path", "/f")

    def go(proxy, count):
        load.h2load(bench, proxy.url(path), count, within=within, **how)

    def sample(proxy):
        with Watch(proxy.pid, bench.lab.proxy_cores) as watch:
            go(proxy, requests)
        return watch.per_request(requests)

    for proxy in running:
        with bench.trusted(table, proxy.name, 0):
            go(proxy, max(how.get("connections", 32), requests // 20))
    bench.rounds(table, running, sample)


def keep_alive(name, title, size, full):
    """Registers the measurement of GETs of one size over kept connections."""

    @measurement(name, title)
    def measure(bench):
        table = bench.table("µs", "total", [NOTE, f"h2load --h1 -c 32 -t 1 -n {bench.count(full)}"])
        root = backends.files(bench, {"f": size})
        job = peers.Job(backends.nginx(bench, root))
        running = bench.start(bench.peers, job, table, lambda proxy: load.probe(proxy.port, "/f", 200, size))
        rounds(bench, table, running, bench.count(full))


keep_alive("cpu-h1-1k", "CPU per request, h1 to h1, kept connections, 1 KiB", KIB, 200_000)
keep_alive("cpu-h1-64k", "CPU per request, h1 to h1, kept connections, 64 KiB", 64 * KIB, 50_000)
keep_alive("cpu-h1-1m", "CPU per request, h1 to h1, kept connections, 1 MiB", MIB, 5_000)


@measurement("cpu-h1-connect", "CPU per request, h1 to h1, a new connection for each, 1 KiB")
def connect(bench):
    """`Connection: close` on every request; the connections to the backend are kept."""
    requests = bench.count(50_000)
    notes = [NOTE, f"h2load --h1 -c 32 -t 1 -n {requests} -H 'connection: close'"]
    table = bench.table("µs", "total", notes)
    root = backends.files(bench, {"f": KIB})
    running = bench.start(bench.peers, peers.Job(backends.nginx(bench, root)), table)
    rounds(bench, table, running, requests, more=["-H", "connection: close"])


@measurement("cpu-h2-h1", "CPU per request, h2c to h1, 1 KiB")
def h2_to_h1(bench):
    """Several streams on a few connections."""
    requests = bench.count(200_000)
    table = bench.table("µs", "total", [NOTE, f"h2load -c 8 -m 16 -t 1 -n {requests}"])
    root = backends.files(bench, {"f": KIB})
    job = peers.Job(backends.nginx(bench, root), front_h2=True)
    running = bench.start(bench.peers, job, table)
    rounds(bench, table, running, requests, connections=8, streams=16, h1=False)


@measurement("cpu-grpc", "CPU per call, gRPC unary, h2c to h2c")
def grpc(bench):
    """A POST with a small message each way, trailers after it."""
    requests = bench.count(100_000)
    notes = [
        NOTE,
        f"h2load -c 8 -m 16 -t 1 -n {requests}, a message of 10 bytes each way; backend: nghttpd",
        "nginx takes one connection to the backend for each call at a time: it does not multiplex there",
    ]
    table = bench.table("µs", "total", notes)
    root = backends.files(bench, {})
    job = peers.Job(backends.grpc(bench, root), backend_h2=True, front_h2=True)

    def check(proxy):
        crowd.grpc_probe(proxy.port, "/unary.grpc", backends.GRPC_MESSAGE)

    running = bench.start(bench.peers, job, table, check)
    more = ["-d", root / "unary.grpc", "-H", "content-type: application/grpc", "-H", "te: trailers"]
    how = {"path": "/unary.grpc", "connections": 8, "streams": 16, "h1": False, "more": more}
    rounds(bench, table, running, requests, **how)


@measurement("throughput", "Throughput of one core, h1, kept connections, 1 KiB")
def throughput(bench):
    """As fast as wrk can, which shares the other core with the backend."""
    seconds = bench.count(5, 2)
    notes = [
        f"wrk -t 1 -c 64 -d {seconds}s; the proxy has one core, wrk and the backend share another",
        "where the proxy's core is not busy, load generator and backend were the bound, not the proxy",
        "`core could`: the rate at which the CPU per request, as measured here, fills the core",
    ]
    table = bench.table("req/s", "req/s", notes, timed=True)
    root = backends.files(bench, {"f": KIB})
    running = bench.start(bench.peers, peers.Job(backends.nginx(bench, root)), table)

    def sample(proxy):
        with Watch(proxy.pid, bench.lab.proxy_cores) as watch:
            count, rate = load.wrk(bench, proxy.url("/f"), seconds, 64)
        spent = watch.per_request(count)
        return {
            "req/s": rate,
            "busy %": spent["busy %"],
            "core could": 1e6 / spent["total"],
        }

    bench.rounds(table, running, sample)
