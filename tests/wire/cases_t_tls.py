"""TLS on the listener: what plain connections do, sessions do too, and handshakes are bounded."""

import hashlib
import json
import socket
import ssl
import time

import websockets.sync.client

from backends import pattern
from cases_d_timers import near
from cases_h_websocket import Server
from certs import Authority, TlsRaw, ends_cleanly, settings
from harness import check, equal, eventually
from raw import Raw, get, post
from tools import curl, run


def secured(t, backend, permits=64, **more):
    """A weir that speaks TLS, and the authority that signed for it."""
    authority = Authority(t.directory)
    weir = t.weir(backend, permits, **settings(*authority.issue("server")), **more)
    weir.https = weir.url.replace("http://", "https://")
    return weir, authority


def failures(weir, kind):
    return weir.total("weir_tls_handshake_errors_total", kind=kind)


def test_alpn_decides_and_without_it_the_first_bytes(t):
    plain = t.plain()
    weir, authority = secured(t, plain)
    trust = ["--cacert", authority.file]
    for arguments, version in ([], "2"), (["--http1.1"], "1.1"), (["--http1.0"], "1"):
        done = run(["curl", "-q", "-sS", "--noproxy", "*", *trust, *arguments, "-o", "/dev/null",
                    "-w", "%{http_code} %{http_version}", weir.https], 15)
        equal(done.stdout.decode(), f"200 {version}", f"{arguments}, {done.stderr.decode()}")
    for arguments, version in (["--no-alpn", "--http2-prior-knowledge"], "2"), (["--no-alpn"], "1.1"):
        done = run(["curl", "-q", "-sS", "--noproxy", "*", *trust, *arguments, "-o", "/dev/null",
                    "-w", "%{http_code} %{http_version}", weir.https], 15)
        equal(done.stdout.decode(), f"200 {version}", f"{arguments}, {done.stderr.decode()}")
    for request in plain.requests:
        equal(request.field("x-forwarded-proto"), ["https"], "x-forwarded-proto")
        equal(request.field("x-forwarded-client-cert"), [], "x-forwarded-client-cert")
    equal(weir.total("weir_tls_handshakes_total", kind="full"), 5, "handshakes")
    other = run(["openssl", "s_client", "-connect", f"127.0.0.1:{weir.port}", "-alpn", "spdy/1"], 10)
    check(b"no application protocol" in other.stderr, f"another protocol: {other.stderr[-300:]}")
    eventually("counted", lambda: failures(weir, "incompatible") == 1)


def test_bodies_pass_whole_both_ways(t):
    plain = t.plain()
    weir, authority = secured(t, plain)
    for version in "--http1.1", "--http2":
        for size in (1, 70_000, 5_000_000):
            data = pattern(size)
            command = ["curl", "-q", "-sS", "--noproxy", "*", "--cacert", authority.file, version]
            up = run([*command, "--data-binary", "@-", f"{weir.https}/up"], 20, data)
            said = json.loads(up.stdout)
            equal(said["sha256"], hashlib.sha256(data).hexdigest(), f"upload {version} {size}")
            for kind in "bytes", "chunked":
                down = run([*command, f"{weir.https}/{kind}/{size}"], 20)
                check(down.stdout == data, f"{kind} {version} {size}: {len(down.stdout)} bytes")


def test_plain_http_is_told_what_is_spoken_here(t):
    weir, _ = secured(t, t.plain())
    answer = curl(weir.url)
    equal((answer.code, answer.status), (0, 400), "curl's exit code, status")
    check(b"HTTPS" in answer.body, f"it says {answer.body}")
    raw = t.keep(Raw(weir.port))
    raw.push(b"\x00\x01\x02garbage" * 100)
    equal(raw.closed(5)[1], b"", "what garbage is told")
    equal(failures(weir, "not_tls"), 2, "counted")


def test_handshakes_end_at_their_time_and_hold_a_place_until_then(t):
    plain = t.plain()
    limits = {"timeouts__tls_handshake": "1s", "limits__max_connections": 2}
    weir, authority = secured(t, plain, **limits)
    started = time.monotonic()
    silent, slow = t.keep(Raw(weir.port)), t.keep(Raw(weir.port))
    slow.send(b"\x16\x03\x01\x02\x00\x01")  # the first bytes of a ClientHello
    eventually("both have a place", lambda: weir.total("weir_connections") == 2)
    waiting = t.keep(TlsRaw(weir.port, authority.context()))
    equal(waiting.ask(get("/")).status, 200, "who had to wait for a place")
    near(time.monotonic() - started, 1.0, "the places were free")
    for raw in silent, slow:
        equal(raw.closed(3)[1], b"", "what they were told")
    equal(failures(weir, "timeout"), 2, "counted")
    waiting.close()
    t.keep(Raw(weir.port)).close()  # a probe that only connects is no failure
    half = t.keep(Raw(weir.port))
    half.send(b"\x16\x03\x01")
    half.close()
    eventually("who left in the middle is counted", lambda: failures(weir, "closed") >= 1)
    eventually("all have ended", lambda: weir.total("weir_connections") == 0)
    equal(failures(weir, "closed"), 1, "only who left in the middle is counted")


def test_silence_after_the_handshake_is_ended(t):
    weir, authority = secured(t, t.plain(), timeouts__sniff="500ms")
    for alpn in None, ["http/1.1"], ["h2"]:
        raw = t.keep(TlsRaw(weir.port, authority.context(alpn=alpn)))
        started = time.monotonic()
        try:
            raw.closed(4)
        except ssl.SSLEOFError:
            pass  # as without TLS: it is dropped without a word
        near(time.monotonic() - started, 0.5, f"{alpn} closed")
    equal(weir.total("weir_connection_errors_total", kind="sniff"), 3, "counted")


def test_a_slow_head_gets_408(t):
    weir, authority = secured(t, t.plain(), timeouts__head="500ms")
    raw = t.keep(TlsRaw(weir.port, authority.context()))
    started = time.monotonic()
    raw.send("GET / HTTP/1.1\r\nHost: a")
    equal(raw.response().status, 408, "status")
    check(ends_cleanly(raw), "no close_notify after the 408")
    near(time.monotonic() - started, 0.5, "closed")


def test_the_end_is_told_and_a_broken_response_has_none(t):
    def handler(x):
        x.read_body()
        if x.request.target == "/broken":
            x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes.")
            x.keep = False
        else:
            x.reply(200, body=b"whole")

    weir, authority = secured(t, t.plain(handler))
    context = authority.context()
    raw = t.keep(TlsRaw(weir.port, context))
    equal(raw.ask(get("/", "Connection: close")).body, b"whole", "body")
    check(ends_cleanly(raw), "no close_notify at the end")
    for version in "HTTP/1.1", "HTTP/1.0":
        raw = t.keep(TlsRaw(weir.port, context))
        raw.send(f"GET /broken {version}\r\nHost: a\r\n\r\n")
        try:
            response = raw.response()
            check(not response.complete, f"{version}: a broken response came whole")
            check(not ends_cleanly(raw), f"{version}: a broken response ended with close_notify")
        except (ssl.SSLError, OSError):
            pass  # an end that no client takes for a clean one


def test_who_leaves_the_queue_is_noticed(t):
    plain = t.plain()
    weir, authority = secured(t, plain, permits=1, queue__max_wait="20s", drain__grace="60s",
                              drain__timeout="30s")
    context = authority.context()
    holder = t.keep(TlsRaw(weir.port, context, within=20))
    holder.send(get("/hold"))
    eventually("the permit is held", lambda: plain.held == 1)
    half = get("/left", "Content-Length: 100000", method="POST").encode() + b"x" * 40_000
    # What TLS alone says of an end is read only where hyper reads: not behind an unread body.
    ways = [("close_notify and FIN", TlsRaw.finish), ("RST", TlsRaw.reset), ("close_notify", TlsRaw.goodbye)]
    for what, leave in ways:
        for kind, request in ("no body", get("/left").encode()), ("half a body", half):
            if (what, kind) == ("close_notify", "half a body"):
                continue
            raw = t.keep(TlsRaw(weir.port, context))
            raw.send(request)
            eventually("it waits", lambda: weir.queued() == 1)
            started = time.monotonic()
            leave(raw)
            eventually(f"{what}, {kind}: noticed", lambda: weir.queued() == 0)
            seconds = time.monotonic() - started
            check(seconds < 0.4, f"{what}, {kind}: noticed after {seconds:.3f} s")
    equal(weir.outcome("abandoned"), 5, "abandoned")
    plain.release.set()
    equal(holder.response().body, b"held", "the holder's response")
    equal([request.target for request in plain.requests], ["/hold"], "at the backend")


def test_a_refused_upload_gets_its_answer(t):
    plain = t.plain()
    weir, authority = secured(t, plain, permits=1, queue__strategy="immediate")
    context = authority.context()
    holder = t.keep(TlsRaw(weir.port, context, within=20))
    holder.send(get("/hold"))
    eventually("the permit is held", lambda: plain.held == 1)
    for size in (1_000, 100_000, 1_000_000, 3 << 20):
        for _ in range(5):
            raw = t.keep(TlsRaw(weir.port, context, within=10))
            raw.send(post("/up", b"x" * size))  # all of it, before the first look at an answer
            response = raw.response()
            equal((response.status, response.complete), (503, True), f"{size} bytes")
            raw.close()
    plain.release.set()
    equal(holder.response().status, 200, "the holder")


def test_a_client_that_does_not_read_is_given_up(t):
    def handler(x):
        x.head(200, [("Content-Length", 64 << 20)])
        for _ in range(64):
            x.send(bytes(1 << 20))

    weir, authority = secured(t, t.plain(handler), timeouts__write_stall="700ms")
    raw = t.keep(TlsRaw(weir.port, authority.context(), receive_buffer=8192))
    raw.send(get("/"))
    eventually("it is served", lambda: weir.in_flight() == 1)
    eventually("given up", lambda: weir.in_flight() == 0, within=6)
    equal(weir.total("weir_connection_errors_total", kind="write_stall"), 1, "counted")


def test_a_client_that_reads_slowly_is_not(t):
    size = 12 << 20
    data = pattern(size)
    weir, authority = secured(t, t.plain(lambda x: x.reply(200, body=data)), timeouts__write_stall="2s")
    raw = t.keep(TlsRaw(weir.port, authority.context(), receive_buffer=65536, within=20))
    raw.send(get("/"))
    started = time.monotonic()
    for _ in range(9):
        time.sleep(0.3)
        raw.take(1 << 20, time.monotonic() + 5)
    check(time.monotonic() - started > 2.4, "it was not slow")
    raw.take(size - (9 << 20), time.monotonic() + 15)


def test_websockets_are_tunnelled(t):
    server = t.keep(Server())
    weir, authority = secured(t, server, permits=1)
    address = f"wss://127.0.0.1:{weir.port}/chat"
    client = websockets.sync.client.connect(
        address, ssl=authority.context(), proxy=None, max_size=None, open_timeout=5, close_timeout=5
    )
    t.stack.callback(client.socket.close)
    for message in "hello", b"\x00\xff" * 500, pattern(1 << 20):
        client.send(message)
        equal(client.recv(timeout=10) == message, True, "echo")
    equal(weir.in_flight(), 1, "in flight")
    client.close(4002, "bye")
    eventually("the backend heard it", lambda: server.codes == [(4002, "bye")])


def test_a_drain_tells_and_ends(t):
    plain = t.plain()
    weir, authority = secured(t, plain, drain__lame_duck="1s", drain__timeout="8s")
    busy, idle = (t.keep(TlsRaw(weir.port, authority.context(), within=15)) for _ in range(2))
    equal(idle.ask(get("/")).status, 200, "before")
    busy.send(get("/hold"))
    eventually("one is busy", lambda: plain.held == 1)
    weir.signal()
    eventually("readiness fails", lambda: weir.admin("/readyz")[0] == 503)
    equal(idle.ask(get("/")).one("connection"), "close", "told to go")
    check(ends_cleanly(idle), "the idle one is not ended with close_notify")
    plain.release.set()
    equal(busy.response().body, b"held", "the busy one is served")
    check(ends_cleanly(busy), "the busy one is not ended with close_notify")
    equal(weir.ended(within=10), 0, "exit code")


def test_the_oldest_version_is_a_setting(t):
    weir, authority = secured(t, t.plain(), tls__min_version="1.3")
    equal(t.keep(TlsRaw(weir.port, authority.context())).sock.version(), "TLSv1.3", "version")
    try:
        t.keep(TlsRaw(weir.port, authority.context(newest=ssl.TLSVersion.TLSv1_2)))
        check(False, "TLS 1.2 was spoken")
    except ssl.SSLError as error:
        check("PROTOCOL_VERSION" in str(error), f"TLS 1.2: {error}")
    eventually("counted", lambda: failures(weir, "incompatible") == 1)
    plain_weir, authority = secured_again(t)
    older = TlsRaw(plain_weir.port, authority.context(newest=ssl.TLSVersion.TLSv1_2))
    equal(t.keep(older).ask(get("/")).status, 200, "over TLS 1.2 where it is allowed")


def secured_again(t):
    authority = Authority(t.directory, "other")
    weir = t.weir(t.plain(), **settings(*authority.issue("other-server")))
    return weir, authority


def test_sockets_that_only_connect_and_reset_do_no_harm(t):
    weir, authority = secured(t, t.plain())
    for _ in range(50):
        raw = Raw(weir.port)
        raw.reset()
    with socket.create_connection(("127.0.0.1", weir.port)) as sock:
        sock.sendall(b"\x16\x03\x01\xff\xff" + b"\xff" * 70_000)  # a record longer than allowed
        sock.settimeout(5)
        check(sock.recv(100)[:1] == b"\x15", "no alert")
    equal(t.keep(TlsRaw(weir.port, authority.context())).ask(get("/")).status, 200, "a good client")
    eventually("no place is kept", lambda: weir.total("weir_connections") <= 1)
