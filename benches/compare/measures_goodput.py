"""How much of a backend's capacity is still served when far more is asked of it."""

import dataclasses

import backends
import lab
import load
import peers
from bench import measurement

PERMITS = 20
SERVICE_MS = 50
# Enough streams that the generator never has to wait for one: they are held for a second and more.
CLIENTS, STREAMS = 64, 100


@measurement("goodput", "Goodput under overload, 50 ms of service, 20 at once")
def goodput(bench):
    """At twice and at ten times the capacity, which is measured first."""
    port = backends.slow(bench, SERVICE_MS)
    base = peers.Job(port, permits=PERMITS, front_h2=True)
    url = f"http://127.0.0.1:{port}/"
    capacity = load.h2load(bench, url, bench.count(4000, 1000), connections=PERMITS)
    seconds = bench.count(12, 5)
    for factor in (2, 10):
        rate = PERMITS * 1000 / SERVICE_MS * factor
        notes = [
            f"capacity: {capacity:.1f} requests/s, which {PERMITS} clients get straight from the backend "
            "in a closed loop (a proxy may hand it the next request a little sooner)",
            f"{rate:.0f} requests/s for {seconds} s in an open loop: h2load -c {CLIENTS} -m {STREAMS} --rps; "
            "counted from one second after all clients send until the first has no more to send; "
            "every answer was 200 or 503",
            "weir: default config (a request waits 1 s at most); haproxy: server maxconn 20, timeout queue 1s; "
            "envoy: max_connections 20, max_pending_requests 400; nginx has no queue: limit_conn 20",
        ]
        title = f"Goodput at {factor} times the capacity, {SERVICE_MS} ms of service, {PERMITS} at once"
        table = bench.table("% of capacity", "goodput", notes, title=title, timed=True)
        running = []
        for queues in (True, False):
            job = dataclasses.replace(base, pending=int(capacity), immediate=not queues)
            running += bench.start([peer for peer in bench.peers if peer.queues == queues], job, table)

        def sample(proxy, rate=rate):
            rows, steady = load.logged(bench, proxy.url("/"), seconds, CLIENTS, rate, STREAMS, h1=False)
            load.only(rows, {200, 503})
            return figures(rows, steady, capacity)

        bench.rounds(table, running, sample)
        for proxy in running:
            proxy.stop()


def figures(rows, steady, capacity):
    """Share of the capacity that was served while the overload lasted, and how long it took."""
    # Queues take a second to fill.
    begin, end = steady[0] + 1, steady[1]
    inside = [row for row in rows if begin <= row[0] + row[2] / 1000 <= end]
    served = sorted(millis for _, status, millis in inside if status == 200)
    refused = sorted(millis for _, status, millis in inside if status != 200)
    if not served or not refused:
        raise lab.Untrusted(f"{len(served)} served and {len(refused)} refused: this was no overload")
    return {
        "goodput": 100 * len(served) / (end - begin) / capacity,
        "served/s": len(served) / (end - begin),
        "served p50 ms": load.percentile(served, 50),
        "served p99 ms": load.percentile(served, 99),
        "refused/s": len(refused) / (end - begin),
        "refused p99 ms": load.percentile(refused, 99),
    }
