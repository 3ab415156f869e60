"""What stands behind the proxies: static files over HTTP/1.1 and h2c, a slow one, and one that holds.

Owns the backends. All run on the load cores.
"""

import os
import socket
import subprocess
import threading

import lab

# A gRPC message: not compressed, five bytes.
GRPC_MESSAGE = b"\0\0\0\0\5hello"


def files(bench, sizes):
    """A directory with a file of each of these sizes, and a gRPC answer."""
    root = bench.lab.directory / "www"
    root.mkdir(exist_ok=True)
    for name, size in sizes.items():
        with (root / name).open("wb") as file:
            if size > 1 << 24:
                file.truncate(size)
            else:
                file.write(b"x" * size)
    (root / "unary.grpc").write_bytes(GRPC_MESSAGE)
    return root


def nginx(bench, root, realtime=False):
    """nginx with static files over HTTP/1.1; returns its port."""
    port = lab.free_port()
    config = bench.lab.path("backend.conf")
    own = "" if os.geteuid() else "user root;"
    config.write_text(f"""
worker_processes 1; daemon off; error_log stderr crit; {own} pid {bench.lab.path("backend.pid")};
worker_rlimit_nofile {lab.descriptors()};
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 300s; open_file_cache max=10;
  sendfile on;
  server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; }}
}}
""")
    command = [bench.programs["nginx"], "-c", config]
    process = bench.lab.start(command, bench.lab.load_cores, realtime=realtime)
    return started(process, port)


def grpc(bench, root):
    """nghttpd, which answers a POST over h2c with a file and gRPC's trailers; returns its port."""
    port = lab.free_port()
    types = bench.lab.path("mime.types")
    types.write_text("application/grpc grpc\n")
    command = [bench.programs["nghttpd"], "--no-tls", "-a", "127.0.0.1", "-d", root, "-m", "1000"]
    command += ["--trailer", "grpc-status: 0", "--mime-types-file", types, port]
    return started(bench.lab.start(command, bench.lab.load_cores), port)


def slow(bench, milliseconds):
    """weir's own demo backend, which takes so long for each request; returns its port."""
    command = [bench.weirs[0].binary, "demo-backend", "--service-ms", milliseconds, "--memory-bytes", 0]
    process = bench.lab.start(
        command, bench.lab.load_cores, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    address = process.stdout.readline().decode().strip()
    if ":" not in address:
        raise lab.Untrusted(f"the slow backend did not start: {lab.last_words(process)}")
    return int(address.rpartition(":")[2])


def started(process, port):
    def listening():
        if process.poll() is not None:
            raise lab.Untrusted(f"a backend ended at its start: {lab.last_words(process)}")
        return lab.accepts(port)

    lab.eventually("the backend listens", listening, within=10)
    return port


class Holding:
    """A backend that keeps what it gets while it holds, and answers it all once it is released.

    Runs in threads of the harness; takes bodies of any length to their end first.
    """

    ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.released = threading.Event()
        self.released.set()
        self.lock = threading.Lock()
        self.received = 0
        self.body_bytes = 0
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        rest, room = b"", bytearray(1 << 20)
        try:
            while True:
                while (end := rest.find(b"\r\n\r\n")) < 0:
                    data = connection.recv(65536)
                    if not data:
                        return
                    rest += data
                with self.lock:
                    self.received += 1
                length = content_length(rest[:end])
                rest = rest[end + 4 :]
                missing = length - len(rest)
                rest = rest[length:]
                while missing > 0:
                    count = connection.recv_into(room, min(missing, len(room)))
                    if not count:
                        return
                    missing -= count
                with self.lock:
                    self.body_bytes += length
                self.released.wait()
                connection.sendall(self.ANSWER)
        except OSError:
            pass
        finally:
            connection.close()

    def hold(self):
        """Keeps what comes from now on, and counts it from 0."""
        self.released.clear()
        with self.lock:
            self.received = 0

    def release(self):
        self.released.set()

    def close(self):
        self.released.set()
        self.listener.close()
        for connection in self.connections:
            connection.close()


def content_length(head):
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0
