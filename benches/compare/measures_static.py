"""What a proxy costs before it does anything: start-up time, memory at rest, size of its binary."""

import pathlib
import socket
import time

import backends
import lab
import load
import machine
import peers
from bench import measurement

START_SECONDS_MAX = 20


@measurement("start", "Start-up: from exec to the first proxied answer")
def start(bench):
    """Asks again and again until the backend's answer comes through."""
    table = bench.table("ms", "ms", ["asked every 0.5 ms at most; includes 1 to 2 ms of exec"])
    port = backends.nginx(bench, backends.files(bench, {"f": 1 << 10}))
    job = peers.Job(port)

    def sample(peer):
        begun = time.monotonic()
        running = peer.start(bench, job, wait=False)
        try:
            while not first_answer(running.port):
                if running.process.poll() is not None:
                    raise lab.Untrusted(f"{peer.name} ended: {lab.last_words(running.process)}")
                if time.monotonic() - begun > START_SECONDS_MAX:
                    raise lab.Untrusted(f"no answer within {START_SECONDS_MAX} s")
                time.sleep(0.0005)
            return {"ms": 1000 * (time.monotonic() - begun)}
        finally:
            running.stop()

    bench.rounds(table, {peer.name: peer for peer in bench.peers}, sample)


def first_answer(port):
    """Whether the backend answers through the proxy by now."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(b"GET /f HTTP/1.1\r\nhost: start\r\n\r\n")
            head, _ = load.answer(connection)
    except (OSError, lab.Untrusted):
        return False
    return head.startswith("HTTP/1.1 200 ")


@measurement("idle", "Memory at rest, three seconds after the start")
def idle(bench):
    """Nothing was asked of it yet."""
    notes = ["VmRSS of the serving process; of nginx that is one worker, without its master"]
    table = bench.table("kB", "RSS", notes)
    port = backends.nginx(bench, backends.files(bench, {"f": 1 << 10}))
    for workers in (1, 2):
        # nginx has a process for each worker.
        chosen = [peer for peer in bench.peers if workers == 1 or peer.name != "nginx"]
        for number in range(bench.count(min(3, bench.options.rounds), 1)):
            names = {}
            for peer in chosen:
                name = peer.name if workers == 1 else f"{peer.name}, 2 workers"
                with bench.trusted(table, name, number):
                    names[name] = peer.start(bench, peers.Job(port, workers=workers))
            time.sleep(3)
            for name, running in names.items():
                with bench.trusted(table, name, number):
                    now = machine.memory(running.pid)
                    table.add(name, number, {"RSS": now["VmRSS"], "RssAnon": now["RssAnon"]})
                running.stop()


@measurement("size", "Size of the binary")
def size(bench):
    """The file itself: what it links to at run time comes on top, which is much for HAProxy and nginx."""
    notes = ["weir and Envoy hold all but libc; HAProxy and nginx link to OpenSSL, PCRE and more"]
    table = bench.table("MiB", "stripped", notes)
    for peer in bench.peers:
        with bench.trusted(table, peer.name, 0):
            binary = pathlib.Path(peer.binary).resolve()
            bare = bench.lab.path("stripped")
            bench.lab.run([bench.programs["strip"], "-o", bare, binary], 60)
            sizes = {"stripped": bare.stat().st_size, "as built": binary.stat().st_size}
            table.add(peer.name, 0, {name: value / (1 << 20) for name, value in sizes.items()})
