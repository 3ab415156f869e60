"""What weir changes in a message, what it leaves alone, and what it refuses."""

from backends import default_handler
from harness import check, equal, eventually
from raw import H2, Raw, get, post


def seen(plain):
    """The only request that the backend was sent."""
    equal(len(plain.requests), 1, "requests at the backend")
    return plain.requests[0]


def through(t, request, method="GET", handler=default_handler, **settings):
    """One request through weir: the response, and what the backend saw."""
    plain = t.plain(handler)
    weir = t.weir(plain, **settings)
    raw = t.keep(Raw(weir.port))
    response = raw.ask(request, method)
    return response, seen(plain), weir


def test_hop_by_hop_fields_end_at_weir(t):
    fields = [
        "Connection: keep-alive, X-Foo, x-BAR",
        "Connection: X-Second",
        "X-Foo: 1",
        "X-Bar: 2",
        "X-Second: 3",
        "X-End-To-End: 4",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "TE: gzip",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    ]
    response, request, _ = through(t, get("/", *fields))
    equal(response.status, 200, "status")
    gone = ("x-foo", "x-bar", "x-second", "keep-alive", "proxy-connection", "te", "upgrade")
    for name in (*gone, "http2-settings"):
        equal(request.field(name), [], f"{name} at the backend")
    equal(request.field("x-end-to-end"), ["4"], "an end-to-end field")
    check("X-Foo" not in " ".join(request.field("connection")), "Connection was passed on")


def test_a_nomination_cannot_remove_what_must_stay(t):
    must_stay = ("Host", "X-Forwarded-For", "Authorization", "Content-Length", "Cookie")
    fields = [f"Connection: {', '.join(must_stay)}", "Authorization: Basic eA==", "Cookie: a=b"]
    _, request, _ = through(t, post("/", b"abc", *fields))
    for name in must_stay:
        check(request.field(name), f"Connection: {name} removed {name}")


def test_hop_by_hop_fields_of_the_response_end_at_weir(t):
    def handler(x):
        x.read_body()
        fields = [("Connection", "X-Foo"), ("X-Foo", "1"), ("Keep-Alive", "timeout=9")]
        x.reply(200, [*fields, ("Proxy-Connection", "close"), ("X-Stays", "2")], b"ok")

    response, _, _ = through(t, get("/"), handler=handler)
    equal((response.status, response.body), (200, b"ok"), "response")
    for name in ("x-foo", "keep-alive", "proxy-connection"):
        equal(response.field(name), [], f"{name} at the client")
    equal(response.field("x-stays"), ["2"], "an end-to-end field")


def test_set_cookie_lines_stay_apart(t):
    cookies = ["a=1; Path=/", "b=2", "c=3"]

    def handler(x):
        x.reply(200, [("Set-Cookie", cookie) for cookie in cookies])

    response, _, _ = through(t, get("/"), handler=handler)
    equal(response.field("set-cookie"), cookies, "set-cookie")


def test_via_and_forwarded_are_appended(t):
    fields = ["Via: 1.0 first", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 192.0.2.8"]
    _, request, _ = through(t, get("/", *fields, host="shop.test:81"))
    via = ", ".join(request.field("via"))
    check(via.startswith("1.0 first, 1.1 "), f"Via at the backend: {via}")
    addresses = ", ".join(request.field("x-forwarded-for")).replace(" ", "")
    equal(addresses, "192.0.2.7,192.0.2.8,127.0.0.1", "X-Forwarded-For")
    equal(request.field("x-forwarded-proto"), ["http"], "X-Forwarded-Proto")
    equal(request.field("host"), ["shop.test:81"], "Host")


FORGED = [
    "X-Forwarded-For: 192.0.2.7",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: bank.test",
    "Forwarded: for=192.0.2.7",
    "X-Real-IP: 192.0.2.7",
]


def test_who_is_not_believed_cannot_speak_for_others(t):
    nominated = "Connection: X-Forwarded-For, X-Forwarded-Proto, Forwarded"
    _, request, _ = through(t, get("/", nominated, *FORGED), trust__proxies=[])
    equal(request.field("x-forwarded-for"), ["127.0.0.1"], "X-Forwarded-For")
    equal(request.field("x-forwarded-proto"), ["http"], "X-Forwarded-Proto")
    equal(request.field("x-forwarded-host"), ["weir.test"], "X-Forwarded-Host")
    equal(request.field("forwarded"), [], "Forwarded")
    equal(request.field("x-real-ip"), [], "X-Real-IP")


def test_who_is_believed_speaks_for_others(t):
    _, request, _ = through(t, get("/", *FORGED), trust__proxies=["127.0.0.1/32", "fd00::/8"])
    equal(request.field("x-forwarded-for"), ["192.0.2.7, 127.0.0.1"], "X-Forwarded-For")
    equal(request.field("x-forwarded-proto"), ["https"], "X-Forwarded-Proto")
    equal(request.field("x-forwarded-host"), ["bank.test"], "X-Forwarded-Host")
    equal(request.field("forwarded"), ["for=192.0.2.7, for=127.0.0.1;proto=http"], "Forwarded")
    equal(request.field("x-real-ip"), ["192.0.2.7"], "X-Real-IP")


def test_targets_pass_byte_for_byte(t):
    plain = t.plain()
    weir = t.weir(plain)
    targets = [
        "//a/../%2e",
        "/%7e/~;a=b//?q=a//b&c=%2F&d",
        "/a?b?c=/../d",
        "/.",
        "/%",
        "/?",
        "/" + "x" * 4000,
    ]
    for target in targets:
        raw = t.keep(Raw(weir.port))
        equal(raw.ask(get(target)).status, 200, target)
        equal(plain.requests[-1].target, target, "target at the backend")


def test_options_asterisk_goes_to_the_upstream(t):
    response, request, _ = through(t, get("*", method="OPTIONS"), "OPTIONS")
    equal((response.status, request.line), (200, "OPTIONS * HTTP/1.1"), "status, request line")


def test_absolute_form_wins_over_host(t):
    line = "GET http://shop.test:81/p?q=1 HTTP/1.1\r\nHost: other.test\r\n\r\n"
    response, request, _ = through(t, line)
    equal(response.status, 200, "status")
    equal((request.target, request.field("host")), ("/p?q=1", ["shop.test:81"]), "target, Host")


def test_http_1_0_is_served_and_closed(t):
    plain = t.plain()
    weir = t.weir(plain)
    raw = t.keep(Raw(weir.port))
    raw.send("GET /chunked/5000 HTTP/1.0\r\nHost: weir.test\r\n\r\n")
    response = raw.response()
    equal((response.status, len(response.body)), (200, 5000), "status, bytes")
    equal(response.field("transfer-encoding"), [], "chunked to an HTTP/1.0 client")
    raw.closed(2)


def test_pipelined_requests_are_answered_in_order(t):
    plain = t.plain()
    weir = t.weir(plain)
    raw = t.keep(Raw(weir.port))
    raw.send(get("/bytes/10") + get("/bytes/20") + get("/bytes/30"))
    equal([len(raw.response().body) for _ in range(3)], [10, 20, 30], "lengths in order")


REFUSED = {
    "two Host lines": ("GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", 400),
    "two equal Host lines": ("GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n", 400),
    "no Host on 1.1": ("GET / HTTP/1.1\r\n\r\n", 400),
    "a Host that is none": ("GET / HTTP/1.1\r\nHost: a@b/c?d\r\n\r\n", 400),
    "CONNECT": ("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", 405),
    "two Content-Lengths": (
        get("/", "Content-Length: 3", "Content-Length: 4", method="POST") + "abcd",
        400,
    ),
    "a signed Content-Length": (get("/", "Content-Length: +3", method="POST") + "abc", 400),
    "gzip, chunked": (get("/", "Transfer-Encoding: gzip, chunked", method="POST") + "0\r\n\r\n", 501),
    "identity, chunked": (
        get("/", "Transfer-Encoding: identity, chunked", method="POST") + "0\r\n\r\n",
        501,
    ),
    "a space in a field name": (get("/", "X Y: 1"), 400),
    "two equal Content-Lengths": (
        get("/", "Content-Length: 3", "Content-Length: 3", method="POST") + "abc",
        400,
    ),
    "a fragment": (get("/a#b"), 400),
    "an asterisk": (get("*"), 400),
    "an authority for a target": (get("a.test:80"), 400),
    "another scheme": (get("ftp://a.test/"), 400),
    "a long target": (get("/" + "x" * 20_000), 414),
    "a coding on HTTP/1.0": (
        "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a folded field": (get("/", "X-A: 1", " folded"), 400),
    "nonsense": ("\x01\x02\x03\x04\r\n\r\n", 400),
}


def test_ambiguous_and_malformed_requests_are_refused(t):
    plain = t.plain()
    weir = t.weir(plain)
    wrong = []
    for what, (request, status) in REFUSED.items():
        raw = t.keep(Raw(weir.port))
        raw.push(request)
        response = raw.response()
        if response.status != status:
            wrong.append(f"{what}: {response.status}, not {status}")
        if not response.field("proxy-status"):
            wrong.append(f"{what}: without a reason")
        raw.closed(3)
    equal(wrong, [], "wrong answers")
    equal([request.line for request in plain.requests], [], "what reached the backend")


def test_a_length_beside_chunked_is_refused(t):
    plain = t.plain()
    weir = t.weir(plain)
    length, chunked = "Content-Length: 5", "Transfer-Encoding: chunked"
    for fields in ((chunked, length), (length, chunked)):
        raw = t.keep(Raw(weir.port))
        raw.push(get("/", *fields, method="POST") + "0\r\n\r\n" + get("/smuggled"))
        response = raw.response()
        equal(response.status, 400, f"{fields}")
        check("length_beside_coding" in response.one("proxy-status"), f"{response}")
        raw.closed(3)
    equal([request.line for request in plain.requests], [], "what reached the backend")


def test_a_body_is_framed_whatever_the_method(t):
    plain = t.plain()
    weir = t.weir(plain)
    for method in ("GET", "HEAD", "OPTIONS", "DELETE"):
        raw = t.keep(Raw(weir.port))
        raw.send(get("/", "Transfer-Encoding: chunked", method=method) + "3\r\nabc\r\n0\r\n\r\n")
        equal(raw.response(method).status, 200, method)
        raw.send(get("/", "Content-Length: 3", method=method) + "abc")
        equal(raw.response(method).status, 200, method)
    equal([request.body for request in plain.requests], [b"abc"] * 8, "bodies at the backend")


def test_repeated_chunked_is_refused(t):
    plain = t.plain()
    weir = t.weir(plain)
    for fields in (["chunked, chunked"], ["chunked", "chunked"], ["chunked", "identity"]):
        raw = t.keep(Raw(weir.port))
        raw.push(get("/", *(f"Transfer-Encoding: {f}" for f in fields), method="POST") + "0\r\n\r\n")
        check(raw.response().status in (400, 501), f"Transfer-Encoding {fields} was not refused")
    equal([request.line for request in plain.requests], [], "what reached the backend")


def test_a_bad_chunk_ends_in_400_and_close(t):
    plain = t.plain()
    weir = t.weir(plain)
    raw = t.keep(Raw(weir.port))
    raw.push(get("/", "Transfer-Encoding: chunked", method="POST") + "zz\r\nabc\r\n0\r\n\r\n")
    response = raw.response()
    equal(response.status, 400, "status")
    equal(response.one("proxy-status"), 'weir; error=http_request_error; details="body"', "reason")
    raw.closed(3)


def test_expect_ends_at_weir_and_100_means_a_permit(t):
    plain = t.plain()
    weir = t.weir(plain, permits=1, queue__strategy="immediate")
    raw = t.keep(Raw(weir.port))
    raw.send(get("/up", "Content-Length: 3", "Expect: 100-continue", method="POST"))
    equal(raw.response(final=False).status, 100, "first answer")
    raw.send("abc")
    equal(raw.response().status, 200, "second answer")
    equal(seen(plain).field("expect"), [], "Expect at the backend")

    holder = t.keep(Raw(weir.port))
    holder.send(get("/hold"))
    eventually("the permit is held", lambda: plain.held == 1)
    raw = t.keep(Raw(weir.port))
    raw.send(get("/up", "Content-Length: 3000000", "Expect: 100-continue", method="POST"))
    equal(raw.response(final=False).status, 503, "with no permit free, at once and without 100")
    plain.release.set()
    equal(holder.response().status, 200, "the holder")


def test_header_bombs_are_refused(t):
    plain = t.plain()
    weir = t.weir(plain)
    bombs = {
        "one long field": get("/", "X-Long: " + "x" * 100_000),
        "many fields": get("/", *(f"X-{i}: {i}" for i in range(150))),
    }
    for what, bomb in bombs.items():
        raw = t.keep(Raw(weir.port))
        raw.push(bomb)
        equal(raw.response().status, 431, what)
        raw.closed(3)
    raw = t.keep(Raw(weir.port))
    raw.push(get("/" + "x" * 100_000))
    check(raw.response().status in (414, 431), "a long target")
    equal(plain.requests, [], "what reached the backend")
    errors = lambda: weir.total("weir_connection_errors_total")  # noqa: E731
    eventually("three connection errors are counted", lambda: errors() >= 3)


def test_h2_authority_becomes_host_and_cookies_are_joined(t):
    plain = t.plain()
    weir = t.weir(plain)
    h2 = t.keep(H2(weir.port))
    fields = [("host", "other.test"), ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]
    response = h2.response(h2.request(fields, authority="shop.test:81"))
    equal((response.status, response.complete), (200, True), "response")
    request = seen(plain)
    equal(request.field("host"), ["shop.test:81"], "Host")
    equal(request.field("cookie"), ["a=1; b=2"], "Cookie")


def test_h2_requests_that_no_host_names_are_refused(t):
    plain = t.plain()
    weir = t.weir(plain)
    for what, authority in (("none", None), ("user info", "a@b.test"), ("a path", "a.test/b")):
        h2 = t.keep(H2(weir.port))
        response = h2.response(h2.request(authority=authority))
        # A reset of the stream by hyper is as good a refusal as an answer.
        check(response.status == 400 or not response.complete, f":authority {what}: {response}")
    equal(plain.requests, [], "what reached the backend")


def test_h2_targets_that_are_none_are_refused(t):
    plain = t.plain()
    weir = t.weir(plain)
    wrong = []
    rows = [("*", "http", 400), ("a", "http", 400), ("/", "ftp", 400), ("/" + "x" * 20_000, "http", 414)]
    for path, scheme, status in rows:
        h2 = t.keep(H2(weir.port))
        response = h2.response(h2.request(path=path, scheme=scheme))
        if response.status != status and response.complete:
            wrong.append(f"{scheme} {path[:10]}: {response}")
    equal(wrong, [], "wrong answers")
    equal(plain.requests, [], "what reached the backend")


def test_h2_connection_fields_are_an_error(t):
    plain = t.plain()
    weir = t.weir(plain)
    for field in (("connection", "x-foo"), ("transfer-encoding", "chunked"), ("te", "gzip")):
        h2 = t.keep(H2(weir.port))
        response = h2.response(h2.request([field]))
        refused = response.status == 400 or not response.complete
        check(refused or field[0] == "te", f"{field}: {response}")
        if not refused:
            equal(plain.requests[-1].field("te"), [], "TE at the backend")


def test_the_data_port_is_not_the_admin_port(t):
    plain = t.plain()
    weir = t.weir(plain)
    for path in ("/metrics", "/livez", "/readyz", "/status", "/config"):
        raw = t.keep(Raw(weir.port))
        check(b"weir_" not in raw.ask(get(path)).body, path)
        equal(plain.requests[-1].target, path, "target at the backend")
