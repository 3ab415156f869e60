"""Memory of a waiting request, while it waits and after the burst has gone."""

import contextlib
import time

import backends
import crowd
import lab
import machine
import peers
from bench import measurement

AFTER_SECONDS = 30
WARM = 10


def burst(bench, gather, count, note, job):
    """In every round: all peers get their burst, one after another, then half a minute passes once."""
    seconds = bench.count(AFTER_SECONDS, 5)
    notes = [
        note,
        f"VmRSS of the process: idle, one second after its start; before, when a burst of {WARM} had "
        f"warmed it up; full, when {count} wait; after, when all were answered and had gone {seconds} s ago",
        "`each`: (full - before) / requests; `anon each`: the same of anonymous memory alone",
        "one permit, taken by a request that the backend holds; all got their 200 in the end",
    ]
    table = bench.table("kB", "each", notes)
    for number in range(bench.count(min(3, bench.options.rounds), 1)):
        done = {}
        for peer in bench.queueing:
            with bench.trusted(table, peer.name, number):
                done[peer.name] = one_burst(bench, peer, gather, count, job)
        time.sleep(seconds)
        for name, (running, figures) in done.items():
            with bench.trusted(table, name, number):
                after = machine.memory(running.pid)["VmRSS"]
                figures |= {"after": after, "after / idle": after / figures["idle"]}
                table.add(name, number, figures)
                bench.show(number, name, figures)
            running.stop()


def one_burst(bench, peer, gather, count, job):
    """A fresh proxy, filled with waiting requests, which are then all answered."""
    backend = bench.lab.keep(backends.Holding())
    running = peer.start(bench, job(backend.port))
    time.sleep(1)
    idle = machine.memory(running.pid)["VmRSS"]
    fill(running, backend, gather, WARM)
    time.sleep(1)
    before = machine.memory(running.pid)
    now = fill(running, backend, gather, count)
    each = {name: (now[name] - before[name]) / count for name in ("VmRSS", "RssAnon")}
    figures = {"each": each["VmRSS"], "anon each": each["RssAnon"]}
    return running, figures | {"idle": idle, "before": before["VmRSS"], "full": now["VmRSS"]}


def fill(running, backend, gather, count):
    """Has so many requests wait; returns the memory meanwhile; then sees them all answered."""
    backend.hold()
    with crowd.occupied(running, backend, 1), contextlib.closing(gather(running.port, count)) as people:
        lab.eventually(f"{count} requests wait", lambda: running.queued() == count, within=60, every=0.1)
        time.sleep(0.5)
        full = machine.memory(running.pid)
        backend.release()
        people.answered(90)
    return full


@measurement("memory-h1", "Memory of a waiting HTTP/1.1 request")
def h1(bench):
    """Connections with a GET each."""
    count = bench.count(2000, 500)
    note = f"{count} connections, each with a GET whose head has {crowd.HEAD_BYTES} bytes"

    def job(port):
        return peers.Job(port, permits=1, wait_seconds=280, clients=10_000)

    burst(bench, crowd.H1Crowd, count, note, job)


@measurement("memory-h2", "Memory of a waiting HTTP/2 stream")
def h2(bench):
    """Few connections with many streams each."""
    streams = 100
    count = bench.count(10_000, 2_000)
    note = f"{count} streams on {count // streams} connections, {streams} on each; a GET with four fields"

    def job(port):
        return peers.Job(port, permits=1, wait_seconds=280, clients=10_000, front_h2=True)

    def gather(port, wanted):
        return crowd.H2Crowd(port, max(1, wanted // streams), min(streams, wanted))

    burst(bench, gather, count, note, job)
