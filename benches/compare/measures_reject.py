"""CPU per refused request."""

import backends
import crowd
import load
import measures_cpu
import peers
from bench import measurement


@measurement("reject", "CPU per refused request, h1, kept connections")
def reject(bench):
    """The one permit is taken; every other request gets a 503 at once."""
    requests = bench.count(200_000)
    notes = [
        f"h2load --h1 -c 32 -t 1 -n {requests}, all answered with 503 on kept connections, while the "
        "backend holds the one request that is allowed",
        *(f"{peer.name}: {peer.shedding}" for peer in bench.peers),
    ]
    table = bench.table("µs", "total", notes)
    job = {"permits": 1, "immediate": True}
    running = []
    for peer in bench.peers:
        with bench.trusted(table, peer.name, 0):
            backend = bench.lab.keep(backends.Holding())
            backend.hold()
            proxy = peer.start(bench, peers.Job(backend.port, **job))
            bench.lab.stack.enter_context(crowd.occupied(proxy, backend, peer.holders))
            load.probe(proxy.port, "/f", 503)
            running.append(proxy)
    measures_cpu.rounds(bench, table, running, requests, want="5xx")
