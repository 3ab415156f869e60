"""HTTP/2 by hand: a connection that sends exactly the frames it is told to, and says how the
server took them."""

import contextlib
import socket
import struct
import time

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CODES = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED "
    "FRAME_SIZE_ERROR REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM "
    "INADEQUATE_SECURITY HTTP_1_1_REQUIRED"
).split()


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A field without indexing and without Huffman: any bytes go."""

    def text(raw):
        raw = raw if isinstance(raw, bytes) else raw.encode("latin-1")
        if len(raw) < 127:
            return bytes([len(raw)]) + raw
        rest, size = len(raw) - 127, b"\x7f"
        while rest >= 128:
            size, rest = size + bytes([rest % 128 + 128]), rest // 128
        return size + bytes([rest]) + raw

    return b"\0" + text(name) + text(value)


def block(*fields, method="GET", scheme="http", authority="weir.test", path="/"):
    """A field block; a pseudo-field of None stays out."""
    pseudo = {":method": method, ":scheme": scheme, ":authority": authority, ":path": path}
    given = [(name, value) for name, value in pseudo.items() if value is not None]
    return b"".join(literal(name, value) for name, value in [*given, *fields])


def headers(stream, raw=None, end=True, **pseudo):
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block(**pseudo) if raw is None else raw)


def code(number):
    return CODES[number] if number < len(CODES) else f"code {number}"


class Frames:
    """One connection. `settings` are the payload of the first SETTINGS frame; a `mute` one answers
    neither SETTINGS nor PING."""

    def __init__(self, port, settings=b"", within=4.0, preface=PREFACE, receive_buffer=None, mute=False):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(within)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.within, self.buffer, self.ended, self.mute = within, b"", False, mute
        self.decoder = hpack.Decoder()
        self.statuses, self.resets, self.goaway = {}, {}, None
        self.fields, self.bytes, self.over, self.trailers = {}, {}, set(), {}
        self.pong = b""  # what the last answer to a PING carried
        if preface:
            self.push(preface + frame(SETTINGS, 0, 0, settings))

    def close(self):
        self.sock.close()

    def push(self, data):
        """Whether all of it could be sent."""
        try:
            self.sock.settimeout(self.within)
            self.sock.sendall(data)
            return True
        except OSError:
            return False

    def fill(self, deadline):
        """Reads some more; False when the connection has ended or nothing came in time."""
        if self.ended:
            return False
        self.sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self.sock.recv(256 * 1024)
        except TimeoutError:
            return False
        except OSError:
            data = b""
        self.ended = not data
        self.buffer += data
        at = 0
        while len(self.buffer) - at >= 9:
            head, size = self.buffer[at : at + 9], int.from_bytes(self.buffer[at : at + 3], "big")
            if len(self.buffer) - at < 9 + size:
                break
            at += 9 + size
            self.take(head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF, self.buffer[at - size : at])
        self.buffer = self.buffer[at:]
        return bool(data)

    def take(self, kind, flags, stream, payload):
        if kind in (SETTINGS, PING) and not flags & ACK:
            if not self.mute:
                self.push(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind == PING:
            self.pong = payload
        elif kind == HEADERS:
            # A decoder that lost its way says nothing of the status; the frame still ended it.
            with contextlib.suppress(hpack.HPACKError):
                fields = [(str(n), str(v)) for n, v in self.decoder.decode(payload)]
                given = dict(fields)
                if ":status" in given:
                    self.statuses[stream] = int(given[":status"])
                    self.fields[stream] = fields
                else:
                    self.trailers[stream] = given
        elif kind == DATA:
            self.bytes[stream] = self.bytes.get(stream, 0) + len(payload)
        elif kind == RST:
            self.resets[stream] = code(int.from_bytes(payload, "big"))
        elif kind == GOAWAY:
            number = code(int.from_bytes(payload[4:8], "big"))
            # A graceful one may come first.
            self.goaway = number if self.goaway in (None, "NO_ERROR") else self.goaway
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.over.add(stream)

    def until(self, condition, within=None):
        deadline = time.monotonic() + (within or self.within)
        while not condition():
            if not self.fill(deadline):
                return condition()
        return True

    def answered(self, stream, within=None):
        """Waits until a stream is over in one way or another, or the connection is."""
        fatal = lambda: self.goaway not in (None, "NO_ERROR")  # noqa: E731
        self.until(lambda: stream in self.over or stream in self.resets or fatal(), within)
        return self.verdict(stream)

    def verdict(self, stream=1):
        """What became of a stream, in a word or two."""
        if self.goaway not in (None, "NO_ERROR"):
            return "connection error"
        if stream in self.statuses:
            cut = "" if stream in self.over else ", cut off"
            return f"{self.statuses[stream]}{cut}"
        if stream in self.resets:
            return "stream error"
        return "closed" if self.ended else "no answer"

    def is_alive(self):
        """Whether a ping is still answered or the connection at least not ended."""
        return not self.ended and self.goaway in (None, "NO_ERROR")
