"""Whether a request costs the same whatever else is there: connections, waiting requests, workers."""

import contextlib
import threading

import backends
import lab
import load
import peers
import walker
from bench import measurement
from machine import Watch

KIB = 1 << 10


@measurement("connections", "CPU per request with 1 to 10,000 kept connections, h1, 1 KiB")
def connections(bench):
    """32 requests in flight, on all connections in turn."""
    requests = bench.count(40_000, 12_000)
    counts = [1, 10, 100, 1_000, 10_000]
    notes = [
        f"{requests} requests, at most 32 in flight, on all connections in turn, by a client of the harness; "
        "opening the connections is not counted; with 1 and 10 there are fewer in flight, and more wake-ups",
        "× own: to the same proxy with 100 connections",
    ]
    table = bench.table("µs", "total", notes, baseline=lambda row: f"{row.partition(',')[0]}, 100")
    if lab.descriptors() < counts[-1] + 1_000:
        table.notes.append(f"10,000 connections LEFT OUT: a process may have {lab.descriptors()} descriptors")
        counts.pop()
    port = backends.nginx(bench, backends.files(bench, {"f": KIB}))
    running = bench.start([*bench.weirs, *bench.haproxies], peers.Job(port, clients=11_000), table)

    def sample(subject):
        proxy, count = subject
        with contextlib.closing(walker.Walker(proxy.port, count, "/f", KIB)) as clients:
            clients.walk(max(count, 500), 32)
            with Watch(proxy.pid, bench.lab.proxy_cores) as watch:
                clients.walk(requests, 32)
        return watch.per_request(requests)

    rows = {f"{proxy.name}, {count:,}": (proxy, count) for count in counts for proxy in running}
    bench.rounds(table, rows, sample)


@measurement("waiting", "CPU per request with 10 to 100,000 waiting, h2c to h1, 1 KiB")
def waiting(bench):
    """A closed loop of so many streams at 4 permits: every request passes through the queue."""
    permits = 4
    notes = [
        f"h2load in a closed loop, {permits} permits: all but {permits} of its streams wait, and every request "
        "waits; CPU of all requests, from the filling of the queue to its end",
        "`most`: how many were seen waiting at once",
        "× own: to the same proxy with 1,000 waiting",
    ]
    table = bench.table("µs", "total", notes, baseline=lambda row: f"{row.partition(',')[0]}, 1,000")
    port = backends.nginx(bench, backends.files(bench, {"f": KIB}))
    job = peers.Job(port, permits=permits, wait_seconds=240, streams=1_100, front_h2=True)
    running = bench.start([*bench.weirs, *bench.haproxies], job, table)

    def sample(subject):
        proxy, count, clients = subject
        streams = -(-(count + permits) // clients)
        requests = max(bench.count(60_000, 20_000), (3 if bench.options.quick else 5) * streams * clients)
        with Most(proxy) as most, Watch(proxy.pid, bench.lab.proxy_cores) as watch:
            load.h2load(bench, proxy.url("/f"), requests, clients, streams, h1=False, within=240)
        if most.seen < count / 2:
            raise lab.Untrusted(f"never more than {most.seen} were seen waiting, not {count}")
        return watch.per_request(requests) | {"most": most.seen}

    shapes = [(10, 1), (1_000, 10), (100_000, 100)]
    if bench.options.quick:
        shapes[-1] = (20_000, 20)
    rows = {f"{proxy.name}, {count:,}": (proxy, count, clients) for count, clients in shapes for proxy in running}
    bench.rounds(table, rows, sample)


class Most:
    """Asks a proxy now and then how many requests wait in it, and keeps the largest answer."""

    def __init__(self, running):
        self.running, self.seen = running, 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.ask, daemon=True)

    def ask(self):
        while not self.over.wait(0.3):
            with contextlib.suppress(OSError, lab.Untrusted):
                self.seen = max(self.seen, self.running.queued())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(15)


@measurement("workers", "CPU per request with one worker and with two, h1, kept connections, 1 KiB")
def workers(bench):
    """The second worker must not cost much by being there."""
    requests = bench.count(150_000)
    both = bench.lab.proxy_cores | set(sorted(bench.lab.load_cores)[:1])
    notes = [
        f"h2load --h1 -c 32 -t 1 -n {requests}; load generator and backend on their core as ever",
        "× own: to the same proxy with one worker on its own core",
        "where two cores are all there are, `two cores` includes the one of load generator and backend",
    ]
    table = bench.table("µs", "total", notes, baseline=lambda row: f"{row.partition(',')[0]}, 1 worker")
    port = backends.nginx(bench, backends.files(bench, {"f": KIB}))
    kinds = {
        "1 worker": (1, bench.lab.proxy_cores),
        "1 worker on two cores": (1, both),
        "2 workers on two cores": (2, both),
        "2 workers on one core": (2, bench.lab.proxy_cores),
    }
    rows = {}
    for peer in [*bench.weirs, *bench.haproxies]:
        for kind, (count, cores) in kinds.items():
            name = f"{peer.name}, {kind}"
            with bench.trusted(table, name, 0):
                proxy = peer.start(bench, peers.Job(port, workers=count, cores=frozenset(cores)))
                load.h2load(bench, proxy.url("/f"), 2_000)
                rows[name] = (proxy, cores)

    def sample(subject):
        proxy, cores = subject
        with Watch(proxy.pid, cores) as watch:
            load.h2load(bench, proxy.url("/f"), requests)
        return watch.per_request(requests)

    bench.rounds(table, rows, sample)
