"""WebSockets through weir: the bytes are the backend's, the permit stays while the tunnel does."""

import concurrent.futures
import contextlib
import hashlib
import threading
import time

import websockets.exceptions
import websockets.sync.client
import websockets.sync.server

from backends import pattern
from harness import accepts, check, equal, eventually
from raw import Raw, get


class Server:
    """Echoes; `close CODE REASON` makes it close with these."""

    def __init__(self, serve=None):
        serve = serve or self.serve
        self.server = websockets.sync.server.serve(serve, "127.0.0.1", 0, max_size=None)
        self.port = self.server.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.codes = []

    def serve(self, connection):
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            for message in connection:
                if isinstance(message, str) and message.startswith("close "):
                    _, code, reason = message.split(" ", 2)
                    connection.close(int(code), reason)
                    return
                connection.send(message)
        self.codes.append((connection.close_code, connection.close_reason))

    def close(self):
        self.server.shutdown()
        self.thread.join(5)


def connect(t, url, **options):
    address = url.replace("http://", "ws://") + "/chat?a=b"
    connection = websockets.sync.client.connect(
        address, proxy=None, max_size=None, open_timeout=5, close_timeout=5, **options
    )
    t.stack.callback(connection.socket.close)
    return connection


def conversation(t, url):
    """What a client sees of a few messages and of being closed by the server."""
    client, seen = connect(t, url, subprotocols=None), []
    messages = ["hello", "grüße ☺", "", b"", b"\x00\xff" * 500, pattern(1 << 20), "x" * (1 << 20)]
    for message in messages:
        client.send(message)
        answer = client.recv(timeout=10)
        data = answer.encode() if isinstance(answer, str) else answer
        seen.append((type(answer).__name__, len(data), hashlib.sha256(data).hexdigest()))
    client.send("close 4001 enough of this")
    with contextlib.suppress(websockets.exceptions.ConnectionClosed):
        client.recv(timeout=5)
    return seen, client.close_code, client.close_reason


def test_a_conversation_equals_going_direct(t):
    server = t.keep(Server())
    weir = t.weir(server)
    through, direct = conversation(t, weir.url), conversation(t, server.url)
    equal(through, direct, "through weir against direct")
    equal(through[1:], (4001, "enough of this"), "close code and reason")


def test_the_client_closes_with_its_code(t):
    server = t.keep(Server())
    weir = t.weir(server)
    client = connect(t, weir.url)
    client.send("hello")
    equal(client.recv(timeout=5), "hello", "echo")
    client.close(4002, "bye")
    eventually("the backend heard it", lambda: server.codes == [(4002, "bye")])


def test_the_permit_is_held_while_the_tunnel_is_open(t):
    server = t.keep(Server())
    weir = t.weir(server, permits=1, queue__strategy="immediate")
    client = connect(t, weir.url)
    client.send("hello")
    equal(client.recv(timeout=5), "hello", "echo")
    equal(weir.in_flight(), 1, "in flight")
    try:
        connect(t, weir.url)
        check(False, "a second tunnel was let in")
    except websockets.exceptions.InvalidStatus as error:
        equal(error.response.status_code, 503, "status of the second")
        equal(error.response.headers["weir-reject-reason"], "no_permit", "reason")
    client.close()
    weir.assert_at_rest(2)
    equal((weir.outcome("served"), weir.outcome("rejected")), (1, 1), "served, rejected")
    connect(t, weir.url).close()


def test_a_client_that_vanishes_gives_its_permit_back(t):
    server = t.keep(Server())
    weir = t.weir(server)
    client = connect(t, weir.url)
    eventually("the permit is held", lambda: weir.in_flight() == 1)
    client.socket.shutdown(2)
    weir.assert_at_rest(2)


def test_an_idle_tunnel_is_ended(t):
    server = t.keep(Server())
    weir = t.weir(server, timeouts__tunnel_idle="500ms")
    client = connect(t, weir.url, ping_interval=None)
    eventually("the permit is held", lambda: weir.in_flight() == 1)
    weir.assert_at_rest(3)
    client.socket.close()


def test_a_tunnel_is_not_timed_as_a_response(t):
    server = t.keep(Server())
    weir = t.weir(server, timeouts__response_idle="300ms")
    client = connect(t, weir.url, ping_interval=None)
    time.sleep(1)  # the silence that must do no harm
    client.send("still there")
    equal(client.recv(timeout=5), "still there", "echo")
    client.close()


def test_the_permit_can_be_released_with_the_101(t):
    server = t.keep(Server())
    weir = t.weir(server, permits=1, queue__strategy="immediate", tunnel__permit="release")
    clients = [connect(t, weir.url) for _ in range(5)]
    eventually("the permit is back", lambda: weir.in_flight() == 0)
    equal(weir.total("weir_tunnels"), 5, "tunnels")
    for number, client in enumerate(clients):
        client.send(f"hello {number}")
        equal(client.recv(timeout=5), f"hello {number}", "echo")
    equal(weir.outcome("served"), 0, "a tunnel is counted when it is over")
    for client in clients:
        client.close(4003, "done")
    eventually("the backend heard it", lambda: server.codes == [(4003, "done")] * 5)
    eventually("all are counted", lambda: weir.outcome("served") == 5)
    equal(weir.total("weir_tunnels"), 0, "tunnels")


def drained(t, **settings):
    """A tunnel that is open goes on through the drain, and is told to end before it is over."""
    server = t.keep(Server())
    weir = t.weir(server, drain__lame_duck="0s", drain__timeout="4s", **settings)
    client = connect(t, weir.url, ping_interval=None)
    weir.signal()
    eventually("no new connections", lambda: not accepts(weir.port))
    client.send("in the drain")
    equal(client.recv(timeout=5), "in the drain", "echo")
    begun = time.monotonic()
    try:
        client.recv(timeout=5)
        check(False, "a message from nowhere")
    except websockets.exceptions.ConnectionClosed:
        check(1 < time.monotonic() - begun < 3.5, "told to end at the wrong time")
    equal(weir.ended(within=3), 0, "exit code")


def test_a_drain_tells_tunnels_to_end(t):
    drained(t)


def test_also_those_without_a_permit(t):
    drained(t, tunnel__permit="release")


def test_a_hundred_tunnels_carry_ten_megabytes_each(t):
    """Byte for byte: what arrives hashes to what was sent, both ways, and so does each close code."""
    carry(t, tunnels=100, megabytes=10, threads=8)


def carry(t, tunnels, megabytes, threads):
    hashes = []

    def backend(connection):
        hashed = hashlib.sha256()
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            for message in connection:
                hashed.update(message)
                connection.send(message)
        hashes.append((hashed.hexdigest(), connection.close_code, connection.close_reason))

    server = t.keep(Server(backend))
    weir = t.weir(server, permits=threads)

    def one(number):
        code, part = 4000 + number % 1000, pattern(1 << 20)[number % 256 :] + bytes(number % 256)
        client = connect(t, weir.url, compression=None, ping_interval=None)
        sent, received = hashlib.sha256(), hashlib.sha256()
        for _ in range(megabytes):
            client.send(part)
            sent.update(part)
            received.update(client.recv(timeout=20))
        client.close(code, f"tunnel {number}")
        client.socket.close()
        return sent.hexdigest(), received.hexdigest(), code, f"tunnel {number}"

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        done = list(pool.map(one, range(tunnels)))
    check(all(sent == received for sent, received, *_ in done), "what came back is not what was sent")
    want = sorted((sent, code, reason) for sent, _, code, reason in done)
    eventually("all are closed", lambda: sorted(hashes) == want)
    eventually("all are counted", lambda: weir.outcome("served") == tunnels)


UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
UPGRADE += ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",)


def test_no_tunnel_without_101(t):
    """The backend declines; what the client sends next is a request like any other."""
    plain = t.plain()
    weir = t.weir(plain)
    raw = t.keep(Raw(weir.port))
    equal(raw.ask(get("/", *UPGRADE)).status, 200, "the upgrade is declined")
    check(plain.requests[0].field("upgrade") == ["websocket"], "Upgrade did not reach the backend")
    equal(raw.ask(get("/second")).status, 200, "the next request")
    equal(plain.requests[1].target, "/second", "its target")
    check(plain.requests[1].field("via"), "it went through a tunnel, not through weir")


def test_bytes_before_101_do_not_reach_the_backend_as_a_request(t):
    plain = t.plain()
    weir = t.weir(plain)
    raw = t.keep(Raw(weir.port))
    raw.send(get("/", *UPGRADE) + get("/early"))
    equal(raw.response().status, 200, "the upgrade is declined")
    equal(raw.response().status, 200, "the second request")
    check(all(request.field("via") for request in plain.requests), "one went past weir")


def test_an_upgrade_to_something_else_is_not_tunnelled(t):
    def handler(x):
        x.send(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n")
        x.hold()

    plain = t.plain(handler)
    weir = t.weir(plain)
    equal(t.keep(Raw(weir.port)).ask(get("/", *UPGRADE)).status, 502, "a 101 that does not match")
    plain.release.set()
