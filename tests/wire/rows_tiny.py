"""Rows about streams of tiny gRPC messages, each in a frame of its own, that wait in the proxy
(h2#944)."""

import struct
import threading
import time

from board import GOOD, HARM, Row, Seen
from frames import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST, SETTINGS, WINDOW, Frames, block, frame, headers, literal
from rows_upstream import GRPC, OK_HEAD, H2Recorder

MESSAGES = 200_000
TINY = b"\0\0\0\0\2ab"


class Tiny(H2Recorder):
    """Streams 200,000 messages of 7 bytes, each in a frame of its own, as fast as windows let it."""

    def frames(self, sock, stream):
        self.sent, windows, streams, out = {}, {0: 65_535}, {}, {}
        initial = 65_535
        while head := stream.read(9):
            size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            payload, of = stream.read(size), int.from_bytes(head[5:9], "big")
            if kind == SETTINGS and not flags & 1:
                for at in range(0, size, 6):
                    name, value = struct.unpack(">HI", payload[at : at + 6])
                    if name == 4:
                        initial = value
                sock.sendall(frame(SETTINGS, 1, 0))
            elif kind == PING and not flags & 1:
                sock.sendall(frame(PING, 1, 0, payload))
            elif kind == WINDOW:
                windows[of] = windows.get(of, 0) + int.from_bytes(payload, "big")
            elif kind == GOAWAY:
                self.goaway = int.from_bytes(payload[4:8], "big")
            elif kind == RST:
                streams.pop(of, None)
            elif kind == HEADERS and of not in streams:
                streams[of], windows[of] = MESSAGES // self.share, initial + windows.get(of, 0)
                sock.sendall(frame(HEADERS, END_HEADERS, of, OK_HEAD))
            for of in list(streams):
                self.flow(sock, of, streams, windows)

    goaway = None
    share = 1

    @staticmethod
    def flow(sock, of, streams, windows):
        count = min(streams[of], windows[of] // len(TINY), windows[0] // len(TINY))
        if count > 0:
            sock.sendall(frame(DATA, 0, of, TINY) * count)
            streams[of] -= count
            windows[of] -= count * len(TINY)
            windows[0] -= count * len(TINY)
        if not streams[of]:
            del streams[of]
            sock.sendall(frame(HEADERS, END_HEADERS | END_STREAM, of, literal("grpc-status", "0")))


def slow_reader(count):
    """`count` streams, whose client pauses before it opens their windows, once they are full."""

    def act(peer):
        peer.recorder.share = count
        want = MESSAGES // count * len(TINY)
        connection = Frames(peer.h2_port, within=40)
        streams = [1 + 2 * number for number in range(count)]
        ask = lambda of: headers(of, block(*GRPC, method="POST", path="/t.T/Tiny"), end=False) + frame(DATA, END_STREAM, of, b"\0\0\0\0\0")  # noqa: E731
        try:
            connection.push(b"".join(map(ask, streams)))
            # The first window is read, and then nothing is asked for while the backend sends on.
            connection.until(lambda: False, 0.7)
            wide = struct.pack(">I", 1 << 24)
            connection.push(frame(WINDOW, 0, 0, wide) + b"".join(frame(WINDOW, 0, of, wide) for of in streams))
            ends = lambda: all(of in connection.over or of in connection.resets for of in streams) or not connection.is_alive()  # noqa: E731
            connection.until(ends, 40)
            whole = all(connection.bytes.get(of) == want and of in connection.over for of in streams)
        finally:
            connection.close()
        calm = ", the backend is told ENHANCE_YOUR_CALM" if peer.recorder.goaway == 11 else ""
        text = ("all arrive" if whole else "cut off") + calm
        return Seen(GOOD if text == "all arrive" else HARM, text)

    return act


def slow_taker(count):
    """`count` uploads of tiny messages on one connection to a backend that does not read yet."""

    def act(peer):
        peer.recorder.paused.set()
        connection = Frames(peer.h2_port, within=8)
        streams = [1 + 2 * number for number in range(count)]
        ask = lambda of: headers(of, block(*GRPC, method="POST", path="/t.T/Up"), end=False)  # noqa: E731
        # As many as the first window of a stream has room for.
        many = 65_000 // len(TINY)
        try:
            for of in streams:
                connection.push(ask(of))
            for of in streams:
                connection.push(frame(DATA, 0, of, TINY) * many)
            connection.until(lambda: not connection.is_alive(), 1.0)
            peer.recorder.paused.clear()
            for of in streams:
                connection.push(frame(DATA, END_STREAM, of, b""))
            ends = lambda: all(of in connection.over or of in connection.resets for of in streams) or not connection.is_alive()  # noqa: E731
            connection.until(ends, 8)
            whole = all(of in connection.over and connection.statuses.get(of) == 200 for of in streams)
        finally:
            connection.close()
        calm = "; told ENHANCE_YOUR_CALM" if connection.goaway == "ENHANCE_YOUR_CALM" else ""
        return Seen(GOOD if whole and not calm else HARM, ("all arrive" if whole else "cut off") + calm)

    return act


TINY_ROWS = [
    Row("200,000 messages of 2 bytes to a reader that pauses", "all arrive", slow_reader(1)),
    Row("the same over 10 streams", "all arrive", slow_reader(10)),
    Row("the same over 60 streams", "all arrive", slow_reader(60)),
]


class Paused(H2Recorder):
    """Takes uploads, and reads nothing while it is told to pause; then it opens wide windows."""

    def __init__(self):
        self.paused = threading.Event()
        super().__init__()

    def frames(self, sock, stream):
        while head := stream.read(9):
            size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            payload, of = stream.read(size), int.from_bytes(head[5:9], "big")
            if kind == SETTINGS and not flags & 1:
                sock.sendall(frame(SETTINGS, 1, 0) + frame(WINDOW, 0, 0, struct.pack(">I", 1 << 26)))
            elif kind == PING and not flags & 1:
                sock.sendall(frame(PING, 1, 0, payload))
            deadline = time.monotonic() + 5
            while self.paused.is_set() and time.monotonic() < deadline:
                time.sleep(0.01)
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                sock.sendall(frame(HEADERS, END_HEADERS | END_STREAM, of, OK_HEAD + literal("grpc-status", "0")))
            elif kind == HEADERS:
                sock.sendall(frame(WINDOW, 0, of, struct.pack(">I", 1 << 20)))


TAKER_ROWS = [
    Row("9,000 messages up, to a backend that pauses", "all arrive", slow_taker(1)),
    Row("the same on 4 streams at once", "all arrive", slow_taker(4)),
]
