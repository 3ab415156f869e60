"""WebSockets through weir: the bytes are the backend's, the permit stays while the tunnel does."""

import contextlib
import hashlib
import threading

import websockets.exceptions
import websockets.sync.client
import websockets.sync.server

from backends import pattern
from harness import check, equal, eventually
from raw import Raw, get


class Server:
    """Echoes; `close CODE REASON` makes it close with these."""

    def __init__(self):
        self.server = websockets.sync.server.serve(self.serve, "127.0.0.1", 0, max_size=None)
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
    weir = t.weir(server, timeouts__response_idle="500ms")
    client = connect(t, weir.url, ping_interval=None)
    eventually("the permit is held", lambda: weir.in_flight() == 1)
    weir.assert_at_rest(3)
    client.socket.close()


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
