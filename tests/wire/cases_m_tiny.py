"""Streams of tiny gRPC messages to readers that fall behind (h2#944): slow is no attack.

Each message comes in a DATA frame of its own, and nobody reads until weir's windows are full: what
waits in weir then is thousands of frames per stream, which the HTTP/2 library must bear."""

import contextlib
import socket
import threading

import hpack

from harness import check, equal, eventually

MESSAGE = b"\0\0\0\0\0"  # the shortest there is: an empty one
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
INITIAL_WINDOW = 65_535


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Peer:
    """One end of an HTTP/2 connection. It reads no DATA (opens no window) until it is told to."""

    def __init__(self, sock, preface=b""):
        self.sock, self.changed = sock, threading.Condition()
        self.windows = {0: INITIAL_WINDOW}  # what may be sent: on the connection, and by stream
        self.initial_window = INITIAL_WINDOW
        self.received = {}  # bytes by stream
        self.sent = {}  # messages by stream
        self.begun, self.broken, self.goaway, self.is_over = [], [], None, False
        self.reads = False
        self.encoder = hpack.Encoder()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sending = threading.Lock()
        self.send(preface + frame(SETTINGS, 0, 0))
        self.thread = threading.Thread(target=self.follow, args=(not preface,), daemon=True)
        self.thread.start()

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.sock.close()

    def send(self, frames):
        """Whole, also when several threads send at once."""
        with self.sending:
            self.sock.sendall(frames)

    def follow(self, is_server):
        data = b""
        with contextlib.suppress(OSError):
            while more := self.sock.recv(1 << 16):
                data += more
                if is_server and len(data) < 24:
                    continue
                data, is_server = data[24 if is_server else 0 :], False
                with self.changed:
                    data = self.frames(data)
                    self.changed.notify_all()
        with self.changed:
            self.is_over = True
            self.changed.notify_all()

    def frames(self, data):
        at = 0
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            self.frame(data[at + 3], data[at + 4], stream, data[at + 9 : end])
            at = end
        return data[at:]

    def frame(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & 1:
            for at in range(0, len(payload), 6):
                if payload[at : at + 2] == b"\0\4":
                    self.initial_window = int.from_bytes(payload[at + 2 : at + 6], "big")
            self.send(frame(SETTINGS, 1, 0))
        elif kind == PING and not flags & 1:
            self.send(frame(PING, 1, 0, payload))
        elif kind == WINDOW_UPDATE:
            window = self.windows.get(stream, self.initial_window)
            self.windows[stream] = window + int.from_bytes(payload, "big")
        elif kind == HEADERS and stream not in self.begun:
            self.begun.append(stream)
        elif kind == DATA:
            self.received[stream] = self.received.get(stream, 0) + len(payload)
            if self.reads and payload:
                self.open_windows({stream: len(payload)})
        elif kind == RESET:
            self.broken.append((stream, payload))
        elif kind == GOAWAY:
            self.goaway = payload

    def open_windows(self, sizes):
        updates = [(0, sum(sizes.values())), *sizes.items()]
        frames = [frame(WINDOW_UPDATE, 0, s, size.to_bytes(4, "big")) for s, size in updates if size]
        self.send(b"".join(frames))

    def start_reading(self):
        with self.changed:
            self.reads = True
            self.open_windows(self.received)

    def head(self, stream, fields, end=False):
        block = self.encoder.encode([*fields, ("content-type", "application/grpc")])
        self.send(frame(HEADERS, 5 if end else 4, stream, block))

    def call(self, stream, end):
        pseudo = [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "weir.test")]
        self.head(stream, [*pseudo, ("te", "trailers")], end)

    def room(self, stream):
        return min(self.windows[0], self.windows.get(stream, self.initial_window)) // len(MESSAGE)

    def send_messages(self, stream, count):
        """Sends so many, each in its frame, as the windows allow, and notes how many."""
        one, sent = frame(DATA, 0, stream, MESSAGE), 0
        while sent < count:
            with self.changed:
                going = lambda: self.room(stream) or self.goaway or self.is_over  # noqa: E731
                if not self.changed.wait_for(going, 20) or self.goaway or self.is_over:
                    return
                number = min(self.room(stream), count - sent, 2000)
                window = self.windows.get(stream, self.initial_window)
                self.windows[stream] = window - number * len(MESSAGE)
                self.windows[0] -= number * len(MESSAGE)
            self.send(one * number)
            sent += number
            self.sent[stream] = sent

    def is_stuck(self, stream, least):
        """Whether nothing more can be sent there, after at least so many messages."""
        with self.changed:
            return self.sent.get(stream, 0) >= least and not self.room(stream)


class Backend:
    """Accepts connections and does nothing by itself."""

    def __init__(self, t):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.peers = []
        self.t = t
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                self.peers.append(self.t.keep(Peer(self.listener.accept()[0])))

    def close(self):
        self.listener.close()

    def begun(self):
        return [(peer, stream) for peer in self.peers for stream in peer.begun]


def client(t, weir):
    sock = socket.create_connection(("127.0.0.1", weir.port), 5)
    sock.settimeout(None)
    return t.keep(Peer(sock, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))


def pump(senders, count, readers):
    """Each sends so many messages; the readers begin when all senders are stuck."""
    threads = [
        threading.Thread(target=peer.send_messages, args=(stream, count), daemon=True)
        for peer, stream in senders
    ]
    for thread in threads:
        thread.start()
    ended = lambda: any(peer.goaway or peer.is_over for peer, _ in senders)  # noqa: E731
    # The readers' windows are full, and so are weir's, of which up to half may be free unsaid.
    window = INITIAL_WINDOW // len(MESSAGE)
    full = lambda: sum(sum(r.received.values()) for r in readers) // len(MESSAGE)  # noqa: E731
    stuck = lambda: full() >= window * len(senders) and all(  # noqa: E731
        peer.is_stuck(stream, window * 3 // 2) for peer, stream in senders
    )
    eventually("all are stuck", lambda: stuck() or ended(), within=15)
    for reader in readers:
        reader.start_reading()
    for thread in threads:
        thread.join(25)
    for peer, stream in senders:
        check(not peer.goaway, f"GOAWAY: {peer.goaway}")
        equal(peer.sent[stream], count, "messages sent")


def all_arrive(readers, messages):
    total = lambda: sum(sum(reader.received.values()) for reader in readers)  # noqa: E731
    eventually("all have arrived", lambda: total() == messages * len(MESSAGE), within=10)
    for reader in readers:
        equal((reader.goaway, reader.broken), (None, []), "GOAWAY and resets of the reader")


def test_200_000_tiny_messages_down(t):
    down(t, clients=1, count=200_000)


def test_tiny_messages_down_to_eight_slow_readers(t):
    """They share one connection to the backend: its end would be the end of all of them."""
    down(t, clients=8, count=30_000)


def down(t, clients, count):
    backend = t.keep(Backend(t))
    weir = t.weir(backend, workers=1)
    readers = [client(t, weir) for _ in range(clients)]
    for reader in readers:
        reader.call(1, end=True)
    eventually("all calls are there", lambda: len(backend.begun()) == clients)
    for peer, stream in backend.begun():
        peer.head(stream, [(":status", "200")])
    equal(len(backend.peers), 1, "connections to the backend")
    pump(backend.begun(), count, readers)
    all_arrive(readers, clients * count)
    for peer, stream in backend.begun():
        peer.head(stream, [("grpc-status", "0")], end=True)
    weir.assert_at_rest()
    equal(weir.outcome("served"), clients, "served")


def test_200_000_tiny_messages_up(t):
    """Fewer streams at once are borne here: a client is not trusted as the backend is."""
    backend = t.keep(Backend(t))
    weir = t.weir(backend)
    sender = client(t, weir)
    sender.call(1, end=False)
    eventually("the call is there", lambda: len(backend.begun()) == 1)
    pump([(sender, 1)], 200_000, backend.peers)
    all_arrive(backend.peers, 200_000)
    peer, stream = backend.begun()[0]
    sender.send(frame(DATA, 1, 1))
    peer.head(stream, [(":status", "200")])
    peer.head(stream, [("grpc-status", "0")], end=True)
    weir.assert_at_rest()
    equal(weir.outcome("served"), 1, "served")
