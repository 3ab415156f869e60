"""Backends that a weir is put before: one that a case scripts byte by byte, and nginx."""

import contextlib
import hashlib
import json
import os
import random
import socket
import struct
import threading

import h2.config
import h2.connection
import h2.events
import h2.exceptions


def pattern(size):
    """`size` bytes that are always the same and do not repeat soon."""
    return random.Random(size).randbytes(size)


def field(fields, name):
    """Every value of a field, in order."""
    return [value for key, value in fields if key.lower() == name.lower()]


class Request:
    """A request head as it came over the wire."""

    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        self.method, self.target, self.version = lines[0].split(" ")
        self.fields = [tuple(line.split(":", 1)) for line in lines[1:] if line]
        self.fields = [(name, value.strip()) for name, value in self.fields]
        self.body = None  # read by the exchange

    def field(self, name):
        return field(self.fields, name)


class Exchange:
    """One request on one connection, in the hands of a handler."""

    def __init__(self, backend, sock, stream, request):
        self.backend, self.sock, self.stream, self.request = backend, sock, stream, request
        self.keep = request.version == "HTTP/1.1" and "close" not in request.field("connection")

    def read_body(self):
        """The whole request body; raises if it breaks off."""
        request, body = self.request, b""
        if request.field("expect"):
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in map(str.lower, request.field("transfer-encoding")):
            while size := int(self.line().split(b";")[0], 16):
                body += self.exactly(size)
                self.line()
            while self.line():
                pass
        elif length := request.field("content-length"):
            body = self.exactly(int(length[0]))
        request.body = body
        return body

    def line(self):
        line = self.stream.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the request body broke off")
        return line.rstrip(b"\r\n")

    def exactly(self, size):
        data = self.stream.read(size)
        if len(data) != size:
            raise EOFError("the request body broke off")
        return data

    def send(self, data):
        self.sock.sendall(data)

    def head(self, status, fields=(), reason="Whatever"):
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in fields)]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def reply(self, status=200, fields=(), body=b""):
        """A response with Content-Length; the body stays out for HEAD, 204 and 304."""
        framing = [] if status in (204, 304) else [("Content-Length", len(body))]
        self.head(status, [*fields, *framing])
        if self.request.method != "HEAD" and framing:
            self.send(body)

    def chunks(self, parts, trailers=(), fields=()):
        self.head(200, [*fields, ("Transfer-Encoding", "chunked")])
        if self.request.method == "HEAD":
            return
        for part in parts:
            self.send(b"%x\r\n%s\r\n" % (len(part), part))
        end = "".join(f"{name}: {value}\r\n" for name, value in trailers)
        self.send(f"0\r\n{end}\r\n".encode())

    def reset(self):
        """Ends the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.keep = False

    def hold(self):
        """Waits until the case lets go; the backend counts who waits here."""
        with self.backend.lock:
            self.backend.held += 1
        self.backend.release.wait(25)
        with self.backend.lock:
            self.backend.held -= 1


def default_handler(x):
    """What most cases need, by the target's path."""
    kind, _, rest = x.request.target.lstrip("/").partition("/")
    body = x.read_body()
    if kind == "bytes":
        x.reply(200, [("Content-Type", "application/octet-stream")], pattern(int(rest)))
    elif kind == "chunked":
        data = pattern(int(rest))
        x.chunks([data[at : at + 16_000] for at in range(0, len(data), 16_000)])
    elif kind == "trailers":
        x.chunks([b"data"], [("X-Sum", "42")], [("Trailer", "X-Sum")])
    elif kind == "status":
        x.reply(int(rest), [("X-Kind", "status")])
    elif kind == "hold":
        x.hold()
        x.reply(200, body=b"held")
    else:
        said = {
            "method": x.request.method,
            "target": x.request.target,
            "length": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        x.reply(200, [("Content-Type", "application/json")], json.dumps(said).encode())


class Plain:
    """A threaded HTTP/1.1 server that keeps what it was sent and answers as a handler says."""

    def __init__(self, handler=default_handler, port=0):
        self.handler = handler
        self.lock = threading.Lock()
        self.release = threading.Event()
        self.held = 0
        self.requests = []
        self.sockets = set()
        self.accepted = 0
        self.listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.sockets.add(sock)
                self.accepted += 1
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with contextlib.suppress(OSError, EOFError, ValueError):
                stream = sock.makefile("rb")
                while self.one(sock, stream):
                    pass
        finally:
            with self.lock:
                self.sockets.discard(sock)
            sock.close()
            stream.close()

    def one(self, sock, stream):
        """One exchange; whether another may follow on this connection."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            if not line:
                return False
            head += line
        request = Request(head)
        with self.lock:
            self.requests.append(request)
        exchange = Exchange(self, sock, stream, request)
        self.handler(exchange)
        return exchange.keep

    def open(self):
        """How many connections are open."""
        with self.lock:
            return len(self.sockets)

    def close(self):
        self.release.set()
        # Shutdown wakes the thread in accept; close alone would leave it there.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for sock in self.sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


class H2Backend(Plain):
    """An HTTP/2 server with prior knowledge. It never opens a window beyond the first 64 KiB; a
    handler answers each request on the `h2` connection, whose frames are sent after it. If it
    returns true, the connection ends there, and what still comes on it is passed over."""

    def __init__(self, handler):
        self.h2_requests = 0
        self.h2_heads = []  # the fields of each request
        super().__init__(handler)

    def serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        try:
            with contextlib.suppress(OSError, h2.exceptions.ProtocolError):
                sock.sendall(connection.data_to_send())
                over = False
                while not over and (data := sock.recv(64 * 1024)):
                    for event in connection.receive_data(data):
                        if isinstance(event, h2.events.RequestReceived):
                            with self.lock:
                                self.h2_requests += 1
                                self.h2_heads.append(
                                    [(n.decode(), v.decode()) for n, v in event.headers]
                                )
                            over = self.handler(connection, event.stream_id) or over
                    sock.sendall(connection.data_to_send())
                # Unread bytes would make the end a reset, which outruns the last answer.
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(64 * 1024):
                    pass
        finally:
            with self.lock:
                self.sockets.discard(sock)
            sock.close()


NGINX = """
daemon off; master_process off; pid {dir}/nginx.pid; error_log stderr;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_max_body_size 20m;
  client_body_temp_path {dir}/temp-body; proxy_temp_path {dir}/temp-proxy;
  fastcgi_temp_path {dir}/temp-fastcgi; uwsgi_temp_path {dir}/temp-uwsgi;
  scgi_temp_path {dir}/temp-scgi;
  server {{
    listen 127.0.0.1:{port}; listen 127.0.0.1:{h2_port} http2; listen unix:{unix};
    root {dir}/root;
    # By way of a proxy, because a bare `return` answers before it reads the body.
    location /took {{ proxy_pass http://unix:{dir}/inner.sock; }}
    location /none {{ return 204; }}
  }}
  server {{
    listen unix:{dir}/inner.sock;
    location / {{ return 200 "$request_method $content_length $args\\n"; }}
  }}
}}
"""


class Nginx:
    """nginx on a port, on a port with h2c, and on a Unix socket; one process, ended by its id."""

    SIZES = {"one": 1, "small": 1024, "middle": 64 * 1024, "large": 5 * 1024 * 1024}

    def __init__(self, directory, port, h2_port, spawn):
        base = directory / "nginx"
        (base / "root").mkdir(parents=True)
        for name, size in self.SIZES.items():
            path = base / "root" / name
            path.write_bytes(pattern(size))
            # The same validators in every run.
            os.utime(path, (1_700_000_000, 1_700_000_000))
        unix = base / "nginx.sock"
        config = base / "nginx.conf"
        config.write_text(NGINX.format(dir=base, port=port, h2_port=h2_port, unix=unix))
        self.url = f"http://127.0.0.1:{port}"
        self.h2_url = f"http://127.0.0.1:{h2_port}"
        self.unix_url = f"unix:{unix}"
        command = ["nginx", "-e", "stderr", "-p", base, "-c", config]
        self.process = spawn(command, directory / "nginx.log")

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(5)
