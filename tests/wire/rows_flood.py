"""Rows about HTTP/2 floods: what becomes of the attacker, and of an honest client meanwhile."""

import pathlib
import struct
import subprocess
import tempfile
import threading

from board import GOOD, HARM, OTHER, Row, Seen
from frames import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST, SETTINGS, WINDOW, Frames, block, frame, headers, literal

# The honest client asks so often, for so many seconds, over so many connections of
# HTTP/1.1.
RATE, SECONDS, CLIENTS = 100, 1, 4
# On a machine of two cores, shared by attacker, proxy and backend, a tail of this is its own.
P99_FLOOR_MS = 250.0


class Honest(threading.Thread):
    """h2load in its own process, at a fixed rate."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.worst, self.failed = port, 0.0, 0
        self.start()

    def run(self):
        with tempfile.TemporaryDirectory() as directory:
            log = pathlib.Path(directory) / "log"
            count = RATE * SECONDS * CLIENTS
            command = ["h2load", "--h1", "-n", str(count), "-c", str(CLIENTS), "--rps", str(RATE), f"--log-file={log}"]
            subprocess.run([*command, f"http://127.0.0.1:{self.port}/one"], capture_output=True, timeout=20, check=False)
            rows = [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []
        times = sorted(int(row[2]) / 1000 for row in rows if row[1] == "200")
        self.failed = count - len(times)
        self.worst = times[int(len(times) * 0.99)] if times else float("inf")


def flood(name, promise, send, ends, reads=True):
    """`send` yields bytes until the server has had enough. `ends`: whether the attacker must be
    ended, or may be served to its end where nothing grows by it."""

    def act(peer):
        if not hasattr(peer, "calm"):
            peer.calm = Honest(peer.port)
            peer.calm.join(25)
        # What the machine does to a client that asks the backend itself is none of the proxy's.
        during, direct = Honest(peer.port), Honest(peer.upstream)
        attacker = Frames(peer.h2_port, within=1.0)
        try:
            for data in send(attacker):
                if not attacker.push(data):
                    break
                while reads and attacker.fill(0):
                    pass
                if not attacker.is_alive():
                    break
            attacker.until(lambda: not attacker.is_alive(), 1.0)
            ended = not attacker.is_alive()
            during.join(25)
            direct.join(25)
        finally:
            attacker.close()
        bearable = max(2 * peer.calm.worst, 2 * direct.worst, P99_FLOOR_MS)
        hurt = during.failed > 0 or during.worst > bearable
        text = "ended" if ended else "borne to its end"
        text += "; the honest client suffers" if hurt else "; the honest client unharmed"
        return Seen(HARM if hurt else GOOD if ended or not ends else OTHER, text)

    return Row(name, promise, act)


def rapid_reset(_):
    for number in range(100):
        pairs = []
        for at in range(50):
            stream = 1 + 2 * (number * 50 + at)
            pairs.append(headers(stream, block(path="/middle")) + frame(RST, 0, stream, b"\0\0\0\x08"))
        yield b"".join(pairs)


def made_you_reset(_):
    """Makes the server reset each stream: a window update of 0."""
    for number in range(100):
        pairs = []
        for at in range(50):
            stream = 1 + 2 * (number * 50 + at)
            pairs.append(headers(stream, block(path="/middle")) + frame(WINDOW, 0, stream, b"\0\0\0\0"))
        yield b"".join(pairs)


def continuation(_):
    yield frame(HEADERS, END_STREAM, 1, block())
    for _ in range(2000):
        yield frame(CONTINUATION, 0, 1, literal("x-a", "a" * 1000) * 10)


def empty_continuation(_):
    yield frame(HEADERS, END_STREAM, 1, block())
    for _ in range(200):
        yield frame(CONTINUATION, 0, 1) * 100


def hpack_bomb(_):
    """One large field in the table, named many times."""
    big = b"\x40" + literal("x-bomb", "b" * 3900)[1:]
    for stream in range(1, 201, 2):
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, (block() + big if stream == 1 else block()) + b"\xbe" * 8000)


def empty_data(_):
    yield headers(1, block(method="POST", path="/took"), end=False)
    for _ in range(200):
        yield frame(DATA, 0, 1) * 100


def pings(_):
    for number in range(200):
        yield frame(PING, 0, 0, struct.pack(">Q", number)) * 100


def settings(_):
    for _ in range(200):
        yield frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)) * 100


def priorities(_):
    yield headers(1, end=False)
    for number in range(200):
        yield b"".join(frame(PRIORITY, 0, 3 + 2 * at, b"\0\0\0\0\x10") for at in range(number, number + 100))


def shut_windows(_):
    """A hundred responses and no window for any."""
    yield frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    for stream in range(1, 201, 2):
        yield headers(stream, block(path="/middle"))


def streams_beyond(_):
    """More streams than the server allows, none of them ended."""
    for number in range(40):
        yield b"".join(headers(1 + 2 * (number * 50 + at), block(method="POST", path="/took"), end=False) for at in range(50))


ROWS = [
    flood("rapid reset (CVE-2023-44487), 5,000 streams", "ended", rapid_reset, True),
    flood("made to reset (CVE-2025-8671), 5,000 streams", "ended", made_you_reset, True),
    flood("CONTINUATION, 20 MB", "ended", continuation, True),
    flood("empty CONTINUATION, 20,000", "ended", empty_continuation, True),
    flood("HPACK: one field of 4 KB named 8,000 times a request", "ended, or each refused", hpack_bomb, False),
    flood("empty DATA, 20,000", "ended", empty_data, True),
    flood("PING, 20,000", "ended, or borne", pings, False),
    flood("PING, 20,000, the answers unread", "ended, or borne", pings, False, reads=False),
    flood("SETTINGS, 20,000", "ended, or borne", settings, False),
    flood("SETTINGS, 20,000, the answers unread", "ended, or borne", settings, False, reads=False),
    flood("PRIORITY, 20,000", "ended, or borne", priorities, False),
    flood("100 responses of 64 KiB and no window", "ended, or borne", shut_windows, False),
    flood("2,000 streams at once", "ended, or refused one by one", streams_beyond, False),
]
