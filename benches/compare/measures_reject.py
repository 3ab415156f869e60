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
        *(f"{peer.name}: {peer.shedding}" for peer in bench.peers if peer.shedding),
    ]
    table = bench.table("µs", "total", notes)
    running = []
    for peer in bench.peers:
        # Each has a backend of its own, or the requests that are held could not be told apart.
        backend = bench.lab.keep(backends.Holding())
        backend.hold()

        def fill(proxy, peer=peer, backend=backend):
            bench.lab.stack.enter_context(crowd.occupied(proxy, backend, peer.holders))
            load.probe(proxy.port, "/f", 503)

        running += bench.start([peer], peers.Job(backend.port, permits=1, immediate=True), table, fill)
    measures_cpu.rounds(bench, table, running, requests, want="5xx")
