"""The backend behind every proxy of the scoreboard: it notes each byte and each request that it
gets, and on which connection."""

import contextlib
import socket
import time

from backends import Exchange, Plain, field

HEAD_BYTES_MAX = 1 << 20


class Tape:
    """Reads a socket like a file, and keeps all that came."""

    def __init__(self, sock):
        self.sock, self.raw, self.at = sock, bytearray(), 0

    def more(self):
        data = self.sock.recv(64 * 1024)
        self.raw += data
        return bool(data)

    def readline(self):
        while (end := self.raw.find(b"\n", self.at)) < 0:
            if len(self.raw) - self.at > HEAD_BYTES_MAX or not self.more():
                end = len(self.raw) - 1
                break
        line, self.at = bytes(self.raw[self.at : end + 1]), end + 1
        return line

    def read(self, size):
        while len(self.raw) - self.at < size and self.more():
            pass
        data = bytes(self.raw[self.at : self.at + size])
        self.at += len(data)
        return data

    def close(self):
        pass


class Got:
    """A request as this backend reads it: strictly, and without giving up on what is odd."""

    def __init__(self, head, connection, reused):
        self.head, self.connection, self.reused = head, connection, reused
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        words = (lines[0].split(" ") + ["", "", ""])[:3]
        self.method, self.target, self.version = words
        self.fields = []
        self.odd = "\n" in head.decode("latin-1").replace("\r\n", "") or not words[2].startswith("HTTP/1.")
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if line:
                self.fields.append((name, value.strip(" \t")))
                self.odd |= not colon or not name or name != name.strip()
        self.body, self.whole = b"", False

    def field(self, name):
        return field(self.fields, name)

    @property
    def framing(self):
        """`none`, `length`, `chunked`, or `ambiguous` where two peers may differ."""
        codings, lengths = self.field("transfer-encoding"), self.field("content-length")
        if codings:
            plain = len(codings) == 1 and codings[0].lower() == "chunked" and not lengths
            return "chunked" if plain and self.version == "HTTP/1.1" else "ambiguous"
        if lengths:
            one = len(lengths) == 1 and lengths[0].isascii() and lengths[0].isdigit()
            # Beyond 63 bits a reader may wrap.
            return "length" if one and int(lengths[0]) < 1 << 63 else "ambiguous"
        return "none"

    def __str__(self):
        if self.framing == "ambiguous" or self.odd:
            said = "AMBIGUOUS"
        elif self.framing == "none":
            said = "no body"
        else:
            said = f"{self.framing} {len(self.body)}" + ("" if self.whole else ", cut off")
        return f"{self.method} {self.target[:40]} ({said})"


class Recorder(Plain):
    """Answers 200 and says what it saw; a row may put its own handler in the place of that."""

    def __init__(self, port=0):
        self.tapes = []
        self.busy = 0
        super().__init__(self.answer, port)

    @staticmethod
    def answer(x):
        whole(x)
        said = f"saw {x.request.method} {x.request.target}\n".encode("latin-1", "replace")
        x.reply(200, [("X-Saw", x.request.target[:200] or "-")], said)

    def serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tape = Tape(sock)
        with self.lock:
            self.tapes.append(tape)
            number = len(self.tapes)
        count = 0
        try:
            with contextlib.suppress(OSError, EOFError, ValueError):
                while self.turn(sock, tape, number, count > 0):
                    count += 1
        finally:
            with self.lock:
                self.sockets.discard(sock)
            sock.close()

    def turn(self, sock, tape, number, reused):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = tape.readline()
            if not line:
                return False
            head += line
        got = Got(head, number, reused)
        exchange = Exchange(self, sock, tape, got)
        with self.lock:
            self.requests.append(got)
            self.busy += 1
        try:
            self.handler(exchange)
            return exchange.keep
        finally:
            with self.lock:
                self.busy -= 1

    def mark(self):
        with self.lock:
            return len(self.requests)

    def since(self, mark):
        with self.lock:
            return list(self.requests[mark:])

    def quiet(self, within=2.0):
        """Waits, bounded, until no exchange is going on."""
        deadline = time.monotonic() + within
        while self.busy and time.monotonic() < deadline:
            time.sleep(0.005)


def whole(x):
    """Reads the body and notes that it came whole; for handlers that look at what arrived."""
    x.request.body = x.read_body()
    x.request.whole = True
