"""What clients are told when there is no permit, and that it arrives."""

import json
import time

from backends import pattern
from harness import check, equal, eventually
from raw import H2, Raw, get, post
from tools import curl

IMMEDIATE = {"permits": 1, "queue__strategy": "immediate"}


def full(t, **settings):
    """A weir whose only permit is taken, its backend, and the connection that has the permit."""
    plain = t.plain()
    weir = t.weir(plain, **({"permits": 1} | settings))
    holder = t.keep(Raw(weir.port, within=15))
    holder.send(get("/hold"))
    eventually("the permit is held", lambda: plain.held == 1)
    return weir, plain, holder


def let_go(plain, holder):
    plain.release.set()
    response = holder.response()
    equal((response.status, response.body), (200, b"held"), "the holder's response")


def well_formed(response, reason, status=503):
    """What every reject has."""
    equal(response.status, status, "status")
    equal(response.one("weir-reject-reason"), reason, "weir-reject-reason")
    check(int(response.one("retry-after")) >= 1, "retry-after is no positive number of seconds")
    check(response.one("proxy-status").startswith("weir"), "proxy-status does not name weir")


def ask(t, weir, request, method="GET"):
    return t.keep(Raw(weir.port)).ask(request, method)


def test_no_permit_with_strategy_immediate(t):
    weir, plain, holder = full(t, **IMMEDIATE)
    started = time.monotonic()
    well_formed(ask(t, weir, get("/")), "no_permit")
    check(time.monotonic() - started < 0.5, "an immediate reject took its time")
    equal(weir.rejected("no_permit"), 1, "rejected")
    let_go(plain, holder)
    equal((weir.outcome("served"), weir.outcome("rejected")), (1, 1), "served, rejected")
    equal(weir.total("weir_responses_total", source="weir"), 1, "responses of weir's own")
    equal(len(plain.requests), 1, "requests at the backend")


def test_a_wait_that_grows_too_long(t):
    weir, plain, holder = full(t, queue__max_wait="400ms")
    started = time.monotonic()
    raw = t.keep(Raw(weir.port))
    raw.send(get("/"))
    eventually("the request is queued", lambda: weir.queued() == 1, within=0.4)
    well_formed(raw.response(), "queue_wait")
    seconds = time.monotonic() - started
    check(0.35 <= seconds <= 1.4, f"rejected after {seconds:.2f} s, max_wait is 0.4 s")
    equal(weir.rejected("queue_wait"), 1, "rejected")
    let_go(plain, holder)


def test_a_queue_that_is_too_deep(t):
    weir, plain, holder = full(t, queue__max_wait="10s", queue__max_depth=1)
    waiting = t.keep(Raw(weir.port))
    waiting.send(get("/"))
    eventually("one is queued", lambda: weir.queued() == 1)
    well_formed(ask(t, weir, get("/")), "queue_depth")
    let_go(plain, holder)
    equal(waiting.response().status, 200, "the one that waited")


def test_a_queue_that_takes_too_many_bytes(t):
    weir, plain, holder = full(t, queue__max_wait="10s", queue__max_bytes="64Ki")
    waiting = []
    for number in range(4):  # at 14 KiB each, a fifth is too many
        raw = t.keep(Raw(weir.port))
        raw.send(get("/"))
        waiting.append(raw)
        eventually("it is queued", lambda n=number: weir.queued() == n + 1)
    well_formed(ask(t, weir, get("/")), "queue_bytes")
    let_go(plain, holder)
    equal([raw.response().status for raw in waiting], [200] * 4, "those who waited")


def test_those_who_wait_are_served_in_order(t):
    weir, plain, holder = full(t, queue__max_wait="10s")
    waiting = []
    for number in range(10):
        raw = t.keep(Raw(weir.port))
        raw.send(get(f"/{number}"))
        waiting.append(raw)
        eventually("it is queued", lambda n=number: weir.queued() == n + 1)
    let_go(plain, holder)
    equal([raw.response().status for raw in waiting], [200] * 10, "statuses")
    want = ["/hold", *(f"/{number}" for number in range(10))]
    equal([request.target for request in plain.requests], want, "order at the backend")


def test_the_body_follows_accept(t):
    weir, plain, holder = full(t, **IMMEDIATE)
    for accept in ("application/problem+json", "application/json", "*/*;q=0.1, application/json"):
        response = ask(t, weir, get("/", f"Accept: {accept}"))
        well_formed(response, "no_permit")
        equal(response.one("content-type"), "application/problem+json", f"Accept: {accept}")
        problem = json.loads(response.body)
        equal(problem["reason"], "no_permit", "reason in the problem")
        check(problem["title"], "the problem has no title")
    for fields in ((), ("Accept: text/plain",), ("Accept: text/html",)):
        response = ask(t, weir, get("/", *fields))
        well_formed(response, "no_permit")
        check(response.one("content-type").startswith("text/plain"), f"{fields}: {response}")
        check(0 < len(response.body) < 500, f"a body of {len(response.body)} bytes")
    let_go(plain, holder)


def test_head_gets_no_body(t):
    weir, plain, holder = full(t, **IMMEDIATE)
    raw = t.keep(Raw(weir.port))
    for _ in range(2):  # the second would read what the first should not have sent
        raw.send(get("/", method="HEAD"))
        well_formed(raw.response("HEAD"), "no_permit")
    equal(curl(f"{weir.url}/", "--head").code, 0, "curl's exit code")
    let_go(plain, holder)


def test_a_reject_keeps_the_connection(t):
    weir, plain, holder = full(t, **IMMEDIATE)
    raw = t.keep(Raw(weir.port))
    well_formed(raw.ask(get("/")), "no_permit")
    well_formed(raw.ask(post("/", b"x" * 20_000)), "no_permit")
    let_go(plain, holder)
    equal(raw.ask(get("/")).status, 200, "on the same connection, with the permit free again")


def test_status_and_fields_can_be_chosen(t):
    chosen = {"reject__status": 429, "reject__headers.x-shed": "yes"}
    weir, plain, holder = full(t, **IMMEDIATE, **chosen)
    response = ask(t, weir, get("/"))
    well_formed(response, "no_permit", 429)
    equal(response.one("x-shed"), "yes", "a field of the configuration")
    let_go(plain, holder)


def test_rejects_over_http2(t):
    weir, plain, holder = full(t, **IMMEDIATE)
    h2 = t.keep(H2(weir.port))
    for _ in range(3):
        response = h2.response(h2.request())
        check(response.complete, "the stream was not ended")
        well_formed(response, "no_permit")
    stream = h2.request(method="POST", end=False)
    response = h2.response(stream)
    well_formed(response, "no_permit")
    let_go(plain, holder)
    equal(h2.response(h2.request()).status, 200, "on the same connection")


def test_grpc_rejects_are_trailers_only(t):
    weir, plain, holder = full(t, **IMMEDIATE)
    h2 = t.keep(H2(weir.port))
    fields = [("content-type", "application/grpc"), ("te", "trailers")]
    response = h2.response(h2.request(fields, method="POST", path="/t.Echo/Unary"))
    check(response.complete, "the stream was not ended")
    equal((response.status, response.one("grpc-status")), (200, "8"), "status, grpc-status")
    check(int(response.one("grpc-retry-pushback-ms")) > 0, "grpc-retry-pushback-ms")
    equal(response.one("content-type"), "application/grpc", "content-type")
    equal(response.body, b"", "body")
    let_go(plain, holder)


def test_a_rejected_upload_reads_its_503(t):
    """A client that writes everything before it reads must neither see a broken pipe nor lose
    the answer."""
    weir, plain, holder = full(t, **IMMEDIATE)
    for size in (1000, 60_000, 300_000, 3_000_000):
        for _ in range(5):
            raw = t.keep(Raw(weir.port))
            raw.send(post("/", pattern(size)))
            well_formed(raw.response(), "no_permit")
    raw = t.keep(Raw(weir.port))
    raw.send(get("/", "Transfer-Encoding: chunked", method="POST"))
    raw.send(b"".join(b"%x\r\n%s\r\n" % (50_000, pattern(50_000)) for _ in range(60)) + b"0\r\n\r\n")
    well_formed(raw.response(), "no_permit")
    let_go(plain, holder)
    equal(len(plain.requests), 1, "requests at the backend")


def test_a_rejected_upload_that_never_ends_is_closed(t):
    weir, plain, holder = full(t, **IMMEDIATE)
    raw = t.keep(Raw(weir.port))
    raw.send(get("/", "Content-Length: 50000000", method="POST"))
    well_formed(raw.response(), "no_permit")
    raw.closed(4)
    eventually("only the holder is connected", lambda: weir.total("weir_connections") == 1, within=6)
    let_go(plain, holder)


def test_a_queued_upload_waits_whole(t):
    """The body of a request that waits is neither lost nor read without bound."""
    weir, plain, holder = full(t, queue__max_wait="10s")
    data = pattern(3_000_000)
    raw = t.keep(Raw(weir.port))
    raw.send(get("/up", f"Content-Length: {len(data)}", method="POST"))
    raw.send(data[:60_000])
    eventually("it is queued", lambda: weir.queued() == 1)
    let_go(plain, holder)
    raw.send(data[60_000:])
    response = raw.response()
    equal((response.status, json.loads(response.body)["length"]), (200, len(data)), "status, length")


def test_one_that_leaves_the_queue_never_reaches_the_backend(t):
    requests = {
        "a GET": get("/gone"),
        "a small upload": post("/gone", b"ab"),
        # Not larger than what the kernel takes in unread: a FIN comes behind all data.
        "a large upload": post("/gone", pattern(50_000)),
        "half an upload": get("/gone", "Content-Length: 2000000", method="POST") + "x" * 1000,
        "only a head": get("/gone", "Content-Length: 5", method="PUT"),
        "two pipelined": get("/gone") + get("/gone"),
        "an expectation": get("/gone", "Content-Length: 5", "Expect: 100-continue", method="PUT"),
    }
    weir, plain, holder = full(t, queue__max_wait="20s")
    for leave in ("close", "reset"):
        for what, request in requests.items():
            raw = t.keep(Raw(weir.port))
            raw.push(request)
            eventually(f"{what} is queued", lambda: weir.queued() == 1)
            getattr(raw, leave)()
            eventually(f"{what} is gone after {leave}", lambda: weir.queued() == 0, within=0.6)
    equal(weir.outcome("abandoned"), 2 * len(requests), "abandoned")
    let_go(plain, holder)
    equal(len(plain.requests), 1, "requests at the backend")
