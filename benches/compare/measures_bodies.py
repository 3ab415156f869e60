"""Whether long bodies pass without being gathered: memory and CPU of 1 GiB each way."""

import pathlib
import socket

import backends
import lab
import load
import machine
import peers
from bench import measurement

PIECE = 1 << 20
WITHIN_SECONDS = 120


@measurement("bodies", "Memory while a body of 1 GiB passes, h1")
def bodies(bench):
    """A fresh proxy for each; its high-water mark is reset after it has served one small request."""
    size = bench.count(1 << 30, 1 << 28)
    notes = [
        f"{size >> 20} MiB; VmHWM of the process, reset before, less its VmRSS before; one connection",
        "all bytes arrived",
    ]
    static = backends.nginx(bench, backends.files(bench, {"f": 1 << 10, "big": size}))
    sink = bench.lab.keep(backends.Holding())
    ways = {"download": (static, download), "upload": (sink.port, upload)}
    for way, (port, transfer) in ways.items():
        title = f"Memory while a body of 1 GiB passes, h1, {way}"
        table = bench.table("kB", "grown", notes, title=title)

        def sample(peer, port=port, transfer=transfer):
            running = peer.start(bench, peers.Job(port))
            try:
                load.probe(running.port, "/f", 200)
                pathlib.Path(f"/proc/{running.pid}/clear_refs").write_text("5")
                before = machine.memory(running.pid)["VmRSS"]
                with machine.Watch(running.pid, bench.lab.proxy_cores) as watch:
                    transfer(running.port, size)
                grown = machine.memory(running.pid)["VmHWM"] - before
            finally:
                running.stop()
            gib = size / (1 << 30)
            return {
                "grown": grown,
                "before": before,
                "GiB/s": gib / watch.seconds,
                "CPU s/GiB": (watch.user + watch.system) / gib,
            }

        received = sink.body_bytes
        bench.rounds(table, {peer.name: peer for peer in bench.peers}, sample)
        passed = sum(len(samples) for samples in table.rows.values())
        if way == "upload" and sink.body_bytes - received < passed * size:
            raise lab.Untrusted(f"the backend got {sink.body_bytes - received} bytes of {passed} uploads")


def download(port, size):
    """Takes a body in as fast as it comes."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(f"GET /big HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode())
        connection.settimeout(WITHIN_SECONDS)
        room = bytearray(PIECE)
        head, body = load.head_of(connection)
        if not head.startswith(b"HTTP/1.1 200 ") or backends.content_length(head) != size:
            raise lab.Untrusted(f"a download began with {head[:200]}")
        missing = size - len(body)
        while missing > 0:
            count = connection.recv_into(room, min(missing, PIECE))
            if not count:
                raise lab.Untrusted(f"a download was broken off {missing} bytes before its end")
            missing -= count


def upload(port, size):
    """Sends a body as fast as it goes."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.settimeout(WITHIN_SECONDS)
        head = f"POST /f HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: {size}\r\n\r\n"
        connection.sendall(head.encode())
        piece = bytes(PIECE)
        for _ in range(size // PIECE):
            connection.sendall(piece)
        head, _ = load.answer(connection)
        if not head.startswith("HTTP/1.1 200 "):
            raise lab.Untrusted(f"an upload was answered with {head.splitlines()[:1]}")
