"""Every party that stalls is let go at its timer, and takes no permit with it."""

import time

from harness import check, equal, eventually
from raw import H2, Raw, get

# How late a timer may be on a busy machine.
SLACK = 1.5


def near(seconds, timer, what):
    check(timer - 0.1 <= seconds <= timer + SLACK, f"{what} after {seconds:.2f} s, timer {timer} s")


def test_a_silent_connection_is_closed(t):
    weir = t.weir(t.plain(), timeouts__sniff="400ms", timeouts__head="400ms")
    raw = t.keep(Raw(weir.port))
    seconds, said = raw.closed(4)
    near(seconds, 0.4, "closed")
    equal(said, b"", "what it was told")


def test_part_of_a_preface_is_closed(t):
    weir = t.weir(t.plain(), timeouts__sniff="400ms", timeouts__head="400ms")
    raw = t.keep(Raw(weir.port))
    raw.send("PRI * HT")
    seconds, _ = raw.closed(4)
    near(seconds, 0.4, "closed")


def test_a_slow_head_gets_408(t):
    weir = t.weir(t.plain(), timeouts__head="500ms")
    raw = t.keep(Raw(weir.port))
    started = time.monotonic()
    raw.send("GET / HTTP/1.1\r\nHost: a")
    equal(raw.response().status, 408, "status")
    raw.closed(2)
    near(time.monotonic() - started, 0.5, "closed")


def test_a_head_in_drops_gets_408(t):
    """Each byte comes in time; the head as a whole does not."""
    weir = t.weir(t.plain(), timeouts__head="600ms")
    raw = t.keep(Raw(weir.port))
    started = time.monotonic()
    raw.send("GET / HTTP/1.1\r\n")
    while time.monotonic() - started < 5:
        raw.push("X")
        try:
            if not raw.fill(time.monotonic() + 0.1) or b"\r\n\r\n" in raw.buffer:
                break
        except AssertionError:
            continue  # nothing came in this tenth of a second: the next drop
    near(time.monotonic() - started, 0.6, "ended")
    equal(raw.response().status, 408, "status")


def test_a_slow_head_on_a_reused_connection_gets_408(t):
    weir = t.weir(t.plain(), timeouts__head="500ms")
    raw = t.keep(Raw(weir.port))
    equal(raw.ask(get("/")).status, 200, "first")
    started = time.monotonic()
    raw.send("GET / HT")
    equal(raw.response().status, 408, "second")
    near(time.monotonic() - started, 0.5, "answered")


def test_an_idle_keep_alive_connection_is_closed(t):
    weir = t.weir(t.plain(), timeouts__keep_alive_idle="500ms", timeouts__head="5s")
    raw = t.keep(Raw(weir.port))
    equal(raw.ask(get("/")).status, 200, "status")
    seconds, said = raw.closed(4)
    near(seconds, 0.5, "closed")
    equal(said, b"", "what it was told")


def test_an_idle_http2_connection_is_closed(t):
    weir = t.weir(t.plain(), timeouts__h2_idle="500ms")
    h2 = t.keep(H2(weir.port))
    response = h2.response(h2.request())
    equal((response.status, response.complete), (200, True), "response")
    near(h2.closed(4), 0.5, "closed")


def test_a_silent_http2_connection_is_closed(t):
    weir = t.weir(t.plain(), timeouts__h2_idle="500ms")
    near(t.keep(H2(weir.port)).closed(4), 0.5, "closed")


def test_a_busy_http2_connection_is_not_idle(t):
    plain = t.plain()
    weir = t.weir(plain, timeouts__h2_idle="300ms")
    h2 = t.keep(H2(weir.port))
    stream = h2.request(path="/hold")
    eventually("the request is at the backend", lambda: plain.held == 1)
    started = time.monotonic()
    # Reading for three times the idle timer: nothing but what the case lets go may end it.
    try:
        check(h2.closed(0.9) > 0.9, "a connection with an open stream was closed as idle")
    except AssertionError as error:
        check("nothing more came" in str(error), str(error))
    check(time.monotonic() - started >= 0.9, "too soon")
    plain.release.set()
    equal(h2.response(stream).status, 200, "status")


def test_a_connection_grows_only_so_old(t):
    """Told by a response, and closed only then: a request may be on its way."""
    weir = t.weir(t.plain(), timeouts__connection_age="1s", timeouts__keep_alive_idle="20s")
    raw = t.keep(Raw(weir.port))
    started = time.monotonic()
    told = False
    while not told:
        answer = raw.ask(get("/"))
        equal(answer.status, 200, "status")
        told = "close" in answer.field("connection")
        check(time.monotonic() - started < 1.5 + SLACK, "it was not told to go")
    check(time.monotonic() - started > 0.5 - SLACK, "it was told too soon")
    raw.closed(2)


def test_an_upload_that_stops_is_ended(t):
    plain = t.plain()
    weir = t.weir(plain, timeouts__body_idle="500ms")
    raw = t.keep(Raw(weir.port))
    started = time.monotonic()
    raw.send(get("/", "Content-Length: 100", method="POST") + "0123456789")
    eventually("the permit is held", lambda: weir.in_flight() == 1)
    raw.closed(5)
    near(time.monotonic() - started, 0.5, "closed")
    weir.assert_at_rest(1)
    eventually("the backend's connection is closed", lambda: plain.open() == 0)


def test_an_upload_in_drops_is_served(t):
    """Longer than the timer as a whole, but never still for that long."""
    weir = t.weir(t.plain(), timeouts__body_idle="500ms", timeouts__head="300ms")
    raw = t.keep(Raw(weir.port))
    raw.send(get("/", "Content-Length: 8", method="POST"))
    for _ in range(8):
        time.sleep(0.15)  # the pace of this client is what is tested
        raw.send("x")
    equal(raw.response().status, 200, "status")


def test_a_client_that_stops_reading_is_closed(t):
    plain = t.plain()
    weir = t.weir(plain, timeouts__write_stall="600ms")
    raw = t.keep(Raw(weir.port, receive_buffer=16_384))
    raw.send(get("/bytes/40000000"))
    eventually("the permit is held", lambda: weir.in_flight() == 1)
    weir.assert_at_rest(0.6 + SLACK + 3)  # the kernel's buffers fill first
    eventually("the connection is gone", lambda: weir.total("weir_connections") == 0)
    check(not raw.response(within=10).complete, "the response looks complete")


def test_a_backend_that_says_nothing_gets_504(t):
    plain = t.plain()
    weir = t.weir(plain, timeouts__response_head="500ms")
    raw = t.keep(Raw(weir.port))
    started = time.monotonic()
    response = raw.ask(get("/hold"))
    near(time.monotonic() - started, 0.5, "answered")
    equal(response.status, 504, "status")
    check("weir" in response.one("proxy-status"), "proxy-status")
    equal(weir.outcome("failed"), 1, "failed")
    eventually("the backend's connection is closed", lambda: closing(plain))


def closing(plain):
    plain.release.set()
    return plain.open() == 0


def test_a_response_that_stops_is_broken_off(t):
    def handler(x):
        x.head(200, [("Content-Length", 1000)])
        x.send(b"some")
        x.hold()

    weir = t.weir(t.plain(handler), timeouts__response_idle="500ms")
    raw = t.keep(Raw(weir.port))
    started = time.monotonic()
    response = raw.ask(get("/"))
    near(time.monotonic() - started, 0.5, "broken off")
    equal((response.status, response.complete), (200, False), "status, complete")
    equal(weir.outcome("failed"), 1, "failed")


def test_an_idle_upstream_connection_is_closed(t):
    plain = t.plain()
    weir = t.weir(plain, timeouts__upstream_idle="500ms")
    raw = t.keep(Raw(weir.port))
    equal(raw.ask(get("/")).status, 200, "status")
    started = time.monotonic()
    eventually("weir lets the idle connection go", lambda: plain.open() == 0, within=0.5 + SLACK + 1)
    check(time.monotonic() - started > 0.3, "it was not kept at all")
