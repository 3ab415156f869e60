"""The life of a permit when the backend, the client or the response goes wrong."""

from backends import Plain
from harness import check, equal, eventually, free_port
from raw import H2, Raw, get
from tools import curl


def test_a_backend_that_is_down_gives_502(t):
    weir = t.weir(f"http://127.0.0.1:{free_port()}")
    raw = t.keep(Raw(weir.port))
    for _ in range(2):
        response = raw.ask(get("/"))
        equal(response.status, 502, "status")
        check("connection_refused" in response.one("proxy-status"), "proxy-status")
        equal(response.field("weir-reject-reason"), [], "a failure is no reject")
    equal(weir.outcome("failed"), 2, "failed")
    equal(curl(weir.url, h2=True).status, 502, "over HTTP/2")


def test_a_unix_socket_that_is_not_there_gives_502(t):
    weir = t.weir(f"unix:{t.directory}/nobody.sock")
    equal(t.keep(Raw(weir.port)).ask(get("/")).status, 502, "status")


def test_a_backend_that_comes_back_is_used_again(t):
    port = free_port()
    weir = t.weir(f"http://127.0.0.1:{port}")
    raw = t.keep(Raw(weir.port))
    equal(raw.ask(get("/")).status, 502, "down")
    plain = t.keep(Plain(port=port))
    equal(raw.ask(get("/")).status, 200, "up")
    equal(len(plain.requests), 1, "requests at the backend")


def break_off(how):
    """A handler that ends its response before what its framing promised."""

    def handler(x):
        if how == "before the head":
            x.keep = False
        elif how == "inside the head":
            x.send(b"HTTP/1.1 200 OK\r\nContent-Le")
            x.keep = False
        elif how == "content-length":
            x.head(200, [("Content-Length", 1000)])
            x.send(b"x" * 100)
            x.keep = False
        elif how == "chunked":
            x.head(200, [("Transfer-Encoding", "chunked")])
            x.send(b"64\r\n" + b"x" * 100 + b"\r\n")
            x.keep = False
        elif how == "reset":
            x.head(200, [("Content-Length", 1000)])
            x.send(b"x" * 100)
            x.hold()
            x.reset()

    return handler


def test_a_response_that_breaks_off_never_ends_cleanly(t):
    for how in ("content-length", "chunked", "reset"):
        plain = t.plain(break_off(how))
        plain.release.set()
        weir = t.weir(plain)
        response = t.keep(Raw(weir.port)).ask(get("/"))
        equal((response.status, response.complete), (200, False), f"{how}, HTTP/1.1")
        h2 = t.keep(H2(weir.port))
        response = h2.response(h2.request())
        check(not response.complete, f"{how}, HTTP/2: the stream was ended as if whole")
        check(curl(weir.url).code != 0, f"{how}: curl saw a clean end")
        check(curl(weir.url, h2=True).code != 0, f"{how}: curl saw a clean end over HTTP/2")
        equal(weir.outcome("failed"), 4, f"{how}: failed")
        weir.assert_at_rest(1)


def test_a_backend_that_dies_before_its_head_gives_502(t):
    for how in ("before the head", "inside the head"):
        weir = t.weir(t.plain(break_off(how)))
        equal(t.keep(Raw(weir.port)).ask(get("/")).status, 502, how)
        equal(weir.outcome("failed"), 1, "failed")


ODD = {
    "nonsense": b"\x00\x01\x02\r\n\r\n",
    "not HTTP": b"220 mail.test ESMTP\r\n",
    "an unasked 101": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "a bad field": b"HTTP/1.1 200 OK\r\nX Y: 1\r\nContent-Length: 0\r\n\r\n",
}


def test_odd_responses_give_502(t):
    for what, answer in ODD.items():
        def handler(x, answer=answer):
            x.send(answer)
            x.hold()

        plain = t.plain(handler)
        weir = t.weir(plain)
        response = t.keep(Raw(weir.port)).ask(get("/"))
        equal(response.status, 502, what)
        plain.release.set()


def test_bytes_after_a_response_are_not_the_next_one(t):
    def handler(x):
        # In one go: what comes later may meet the next request on its way, in any proxy.
        first = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        x.send(first + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

    weir = t.weir(t.plain(handler))
    raw = t.keep(Raw(weir.port))
    # That backend may be refused (502), but its surplus is nobody's response.
    bodies = [raw.ask(get("/")).body for _ in range(5)]
    check(b"evil" not in bodies, f"a response that nobody asked for was passed on: {bodies}")


def test_a_stale_upstream_connection_costs_no_request(t):
    """The backend closes each connection after its answer without saying so."""

    def handler(x):
        x.read_body()
        x.reply(200, body=b"ok")
        x.keep = False

    weir = t.weir(t.plain(handler))
    raw = t.keep(Raw(weir.port))
    equal([raw.ask(get("/")).status for _ in range(30)], [200] * 30, "statuses")


def test_interim_responses_do_not_confuse(t):
    def handler(x):
        x.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        x.reply(200, body=b"final")

    response = t.keep(Raw(t.weir(t.plain(handler)).port)).ask(get("/"))
    equal((response.status, response.body), (200, b"final"), "response")


def test_a_response_still_streaming_holds_its_permit(t):
    def handler(x):
        x.head(200, [("Content-Length", 10)])
        x.send(b"12345")
        x.hold()
        x.send(b"67890")

    plain = t.plain(handler)
    weir = t.weir(plain)
    raw = t.keep(Raw(weir.port))
    raw.send(get("/"))
    eventually("the response is half sent", lambda: plain.held == 1)
    equal(weir.in_flight(), 1, "in flight")
    plain.release.set()
    equal(raw.response().body, b"1234567890", "body")
    weir.assert_at_rest(1)
    equal(weir.outcome("served"), 1, "served")


def test_a_client_that_leaves_gives_its_permit_back(t):
    plain = t.plain()
    weir = t.weir(plain, drain__cancel_grace="0s")
    for number, leave in enumerate(("close", "reset"), 1):
        raw = t.keep(Raw(weir.port))
        raw.send(get("/hold"))
        eventually("the permit is held", lambda: weir.in_flight() == 1)
        getattr(raw, leave)()
        weir.assert_at_rest(1)
        equal(weir.outcome("cancelled"), number, "cancelled")
    h2 = t.keep(H2(weir.port))
    stream = h2.request(path="/hold")
    eventually("the permit is held", lambda: weir.in_flight() == 1)
    h2.reset(stream)
    weir.assert_at_rest(1)
    equal(weir.outcome("cancelled"), 3, "cancelled")


def test_cancel_grace_keeps_the_permit_longer(t):
    plain = t.plain()
    weir = t.weir(plain, drain__cancel_grace="1s")
    raw = t.keep(Raw(weir.port))
    raw.send(get("/hold"))
    eventually("the permit is held", lambda: plain.held == 1)
    raw.close()
    eventually("the client's leaving is counted", lambda: weir.outcome("cancelled") == 1)
    equal(weir.total("weir_available_permits"), 63, "available within the grace")
    weir.assert_at_rest(3)


def test_a_response_that_ends_before_its_upload_returns_the_permit(t):
    def handler(x):
        x.reply(200, body=b"enough")
        x.hold()

    plain = t.plain(handler)
    weir = t.weir(plain)
    raw = t.keep(Raw(weir.port))
    raw.send(get("/", "Content-Length: 10000000", method="POST") + "some")
    response = raw.response()
    equal((response.status, response.body), (200, b"enough"), "response")
    weir.assert_at_rest(3)
    h2 = t.keep(H2(weir.port))
    stream = h2.request([("content-length", "10000000")], method="POST", end=False)
    h2.data(stream, b"some", end=False)
    response = h2.response(stream)
    equal((response.status, response.body), (200, b"enough"), "response over HTTP/2")
    check(response.complete, "it was not ended before the reset")
    weir.assert_at_rest(3)
