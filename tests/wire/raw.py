"""HTTP/1.1 and HTTP/2 clients that send exactly what they are told to."""

import contextlib
import socket
import threading
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from backends import field
from harness import Failure, check


class Response:
    """A response as it was read; `complete` says whether its body ended as its framing promised."""

    def __init__(self, status, fields, body=b"", complete=True, trailers=()):
        self.status, self.fields, self.body = status, fields, body
        self.complete, self.trailers = complete, list(trailers)

    def field(self, name):
        return field(self.fields, name)

    def one(self, name):
        """The value of a field that must be there once."""
        values = self.field(name)
        check(len(values) == 1, f"{name} is there {len(values)} times in {self.fields}")
        return values[0]

    def __repr__(self):
        return f"{self.status} {self.fields} {self.body[:80]!r} complete={self.complete}"


class Raw:
    """One connection, HTTP/1.1 by hand. Every read is bounded."""

    def __init__(self, port, receive_buffer=None, within=5.0):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(within)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.within = within
        self.buffer = b""
        self.ended = False

    def close(self):
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def send(self, data):
        """Sends all of it; that weir closes meanwhile is an error."""
        data = data if isinstance(data, bytes) else data.encode("latin-1")
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Failure(f"could not send {len(data)} bytes: {error}") from None

    def push(self, data):
        """Sends what can be sent: for requests that weir may refuse half-way."""
        with contextlib.suppress(Failure):
            self.send(data)

    def fill(self, deadline):
        """Reads some more; False at the end of the stream."""
        if self.ended:
            return False
        self.sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self.sock.recv(256 * 1024)
        except ConnectionError:
            data = b""
        except TimeoutError:
            raise Failure(f"nothing more came; read so far: {self.buffer[:300]!r}") from None
        self.ended = not data
        self.buffer += data
        return bool(data)

    def until(self, mark, deadline):
        while mark not in self.buffer:
            if not self.fill(deadline):
                raise EOFError
        found, self.buffer = self.buffer.split(mark, 1)
        return found

    def take(self, size, deadline):
        while len(self.buffer) < size:
            if not self.fill(deadline):
                raise EOFError
        found, self.buffer = self.buffer[:size], self.buffer[size:]
        return found

    def response(self, method="GET", within=None, final=True):
        """The next response. With `final`, 1xx but 101 are passed over."""
        deadline = time.monotonic() + (within or self.within)
        status = 100
        while 100 <= status < 200 and status != 101:
            try:
                head = self.until(b"\r\n\r\n", deadline).decode("latin-1").split("\r\n")
            except EOFError:
                raise Failure(f"closed before a response; read {self.buffer[:300]!r}") from None
            status = int(head[0].split(" ")[1])
            fields = [(n.lower(), v.strip()) for n, v in (line.split(":", 1) for line in head[1:])]
            if not final:
                break
        response = Response(status, fields)
        if method != "HEAD" and status >= 200 and status not in (204, 304):
            try:
                self.body(response, deadline)
            except EOFError:
                response.complete = False
                response.body += self.buffer
        return response

    def body(self, response, deadline):
        if "chunked" in response.field("transfer-encoding"):
            while size := int(self.until(b"\r\n", deadline).split(b";")[0], 16):
                response.body += self.take(size, deadline)
                self.until(b"\r\n", deadline)
            while line := self.until(b"\r\n", deadline):
                name, value = line.decode("latin-1").split(":", 1)
                response.trailers.append((name.lower(), value.strip()))
        elif length := response.field("content-length"):
            response.body = self.take(int(length[0]), deadline)
        else:
            while self.fill(deadline):
                pass
            response.body, self.buffer = self.buffer, b""

    def closed(self, within):
        """Waits for the end of the connection; returns after how many seconds, and what was
        still read before it."""
        started = time.monotonic()
        try:
            while self.fill(started + within):
                pass
        except Failure:
            raise Failure(f"still open after {within} s; read {self.buffer[:300]!r}") from None
        return time.monotonic() - started, self.buffer

    def ask(self, request, method="GET"):
        self.send(request)
        return self.response(method)


def get(path="/", *fields, host="weir.test", method="GET"):
    """A request without a body, as text."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *fields, "", ""])


def post(path, body, *fields):
    head = get(path, f"Content-Length: {len(body)}", *fields, method="POST")
    return head.encode("latin-1") + body


class H2:
    """One HTTP/2 connection with prior knowledge; frames by the `h2` package."""

    def __init__(self, port, within=5.0):
        self.sock = socket.create_connection(("127.0.0.1", port), within)
        self.within = within
        # The client must not tidy what it sends: some cases send odd things on purpose.
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self.h2.initiate_connection()
        self.events = []
        self.buffer = b""
        self.leaving = False  # the server has said GOAWAY
        self.ended = False
        self.flush()

    def close(self):
        self.sock.close()

    def flush(self):
        if data := self.h2.data_to_send():
            self.sock.sendall(data)

    def request(
        self, fields=(), method="GET", path="/", authority="weir.test", end=True, scheme="http"
    ):
        stream = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", scheme), (":path", path)]
        if authority is not None:
            pseudo.append((":authority", authority))
        self.h2.send_headers(stream, [*pseudo, *fields], end_stream=end)
        self.flush()
        return stream

    def data(self, stream, data, end=True):
        self.h2.send_data(stream, data, end_stream=end)
        self.flush()

    def reset(self, stream):
        self.h2.reset_stream(stream)
        self.flush()

    def read(self, deadline):
        """Reads some more frames; False at the end of the connection."""
        if self.ended:
            return False
        self.sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self.sock.recv(256 * 1024)
        except ConnectionError:
            data = b""
        except TimeoutError:
            raise Failure(f"nothing more came; events so far: {self.events[-5:]}") from None
        self.ended = not data
        for event in self.h2.receive_data(self.frames(data)):
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                with contextlib.suppress(h2.exceptions.ProtocolError):  # the stream is over already
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.events.append(event)
        with contextlib.suppress(OSError):
            self.flush()
        return bool(data)

    def frames(self, data):
        """The whole frames that have come, without GOAWAY: the `h2` package takes that for the end
        of the connection, where it only ends new streams (RFC 9113, section 6.8)."""
        self.buffer += data
        whole = b""
        while len(self.buffer) >= 9:
            size = 9 + int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < size:
                break
            frame, self.buffer = self.buffer[:size], self.buffer[size:]
            if frame[3] == 7:
                self.leaving = True
            else:
                whole += frame
        return whole

    def wait(self, kind, within=None, stream=None):
        """The first event of a kind, bounded; None if the connection ended without it."""
        deadline = time.monotonic() + (within or self.within)
        while True:
            for event in self.events:
                if isinstance(event, kind) and (stream is None or event.stream_id == stream):
                    return event
            if not self.read(deadline):
                return None

    def response(self, stream, within=None):
        """The whole response; `complete` only if the stream was ended, not reset or cut."""
        self.wait((h2.events.StreamEnded, h2.events.StreamReset), within, stream)
        mine = [event for event in self.events if getattr(event, "stream_id", None) == stream]
        fields, body, trailers, complete = [], b"", [], False
        for event in mine:
            if isinstance(event, h2.events.ResponseReceived):
                fields = text(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
            elif isinstance(event, h2.events.TrailersReceived):
                trailers = text(event.headers)
            elif isinstance(event, h2.events.StreamEnded):
                complete = True
        status = int(field(fields, ":status")[0]) if fields else 0
        return Response(status, fields, body, complete, trailers)

    def closed(self, within):
        """Waits for the end of the connection; returns after how many seconds."""
        started = time.monotonic()
        while self.read(started + within):
            pass
        return time.monotonic() - started


def text(headers):
    decode = lambda raw: raw.decode("latin-1") if isinstance(raw, bytes) else raw  # noqa: E731
    return [(decode(name), decode(value)) for name, value in headers]


class Background:
    """A call in a thread; `result` waits for it, bounded, and raises what it raised."""

    def __init__(self, function, *arguments):
        self.value, self.error = None, None

        def run():
            try:
                self.value = function(*arguments)
            except BaseException as error:  # noqa: BLE001  (handed to the waiter)
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def result(self, within=10.0):
        self.thread.join(within)
        check(not self.thread.is_alive(), f"the call did not return within {within} s")
        if self.error:
            raise self.error
        return self.value
