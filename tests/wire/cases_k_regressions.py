"""What reviews by hostile eyes have found, kept found: each case failed before its mending."""

import contextlib
import json
import os
import signal
import socket
import time

from backends import H2Backend
from cases_f_upstream import break_off
from cases_h_websocket import UPGRADE
from harness import check, equal, eventually, free_port, toml
from raw import H2, Background, Raw, get

UPLOAD = ("Content-Length: 10000",)


def nothing_said(raw, what):
    _, said = raw.closed(10)
    equal(said, b"", f"{what}: what it was told")


def test_a_queued_client_that_leaves_gets_no_answer(t):
    """Failed before: an empty 200 for a request that never was at the backend."""
    plain = t.plain()
    weir = t.weir(plain, permits=1, queue__max_wait="20s", drain__timeout="25s", drain__grace="40s")
    busy = t.keep(Raw(weir.port))
    busy.send(get("/hold"))
    eventually("one is busy", lambda: plain.held == 1, within=10)
    leavers = {
        "part of an upload": get("/", *UPLOAD, method="POST") + "x" * 9000,
        "expecting 100": get("/", *UPLOAD, "Expect: 100-continue", method="POST"),
        "two pipelined": get("/") + get("/"),
    }
    for number, (what, request) in enumerate(leavers.items(), 1):
        raw = t.keep(Raw(weir.port))
        raw.send(request)
        eventually(f"{what}: it is queued", lambda: weir.queued() == 1, within=10)
        raw.sock.shutdown(socket.SHUT_WR)
        nothing_said(raw, what)
        eventually(
            f"{what}: it is abandoned", lambda n=number: weir.outcome("abandoned") == n, within=10
        )
        equal(weir.queued(), 0, f"{what}: queued")
    plain.release.set()
    equal(busy.response().status, 200, "the busy one")
    equal(len(plain.requests), 1, "requests at the backend")


def test_a_shut_window_behind_an_answer_keeps_no_permit(t):
    """Failed before: the upload waited for a window that nobody opens, with the permit."""

    def handler(connection, stream):
        connection.send_headers(stream, [(":status", "200")], end_stream=True)

    backend = t.keep(H2Backend(handler))
    weir = t.weir(backend, permits=2, upstream_protocol="http2")
    raw = t.keep(Raw(weir.port))
    raw.send(get("/", "Content-Length: 1000000", method="POST"))
    raw.push("x" * 200_000)  # more than a window of 64 KiB
    eventually("the request is at the backend", lambda: backend.h2_requests == 1, within=10)
    eventually("it is counted", lambda: weir.outcome("served") == 1, within=10)
    weir.assert_at_rest(8)  # while the client's side stays open


def test_a_steady_upload_longer_than_response_head_is_served(t):
    """Failed before: 504 in the middle of the upload, because the timer ran from its beginning."""
    weir = t.weir(t.plain(), timeouts__response_head="1s")
    raw = t.keep(Raw(weir.port, within=10))
    raw.send(get("/", *UPLOAD, method="POST"))
    for _ in range(25):
        time.sleep(0.1)  # the pace of this client is what is tested
        raw.send("x" * 400)
    response = raw.response()
    equal((response.status, json.loads(response.body)["length"]), (200, 10_000), "status, length")


def test_response_head_runs_from_the_end_of_the_upload(t):
    """Failed before: 504 in the middle of the upload."""
    plain = t.plain()
    weir = t.weir(plain, timeouts__response_head="1s")
    raw = t.keep(Raw(weir.port, within=10))
    raw.send(get("/hold", *UPLOAD, method="POST"))
    for _ in range(15):
        time.sleep(0.1)  # as above
        raw.send("x" * 600)
    raw.send("x" * 1000)
    ended = time.monotonic()
    equal(raw.response().status, 504, "status")
    seconds = time.monotonic() - ended
    check(0.9 <= seconds <= 4, f"504 came {seconds:.2f} s after the upload's end, timer 1 s")
    plain.release.set()


def test_what_an_http2_backend_turned_away_goes_out_again(t):
    """Failed before: 502 for requests that GOAWAY says were not processed."""

    def handler(connection, stream):
        if stream > 1:
            return True  # beyond last_stream_id: as if it never came
        connection.send_headers(stream, [(":status", "200")])
        connection.send_data(stream, b"ok", end_stream=True)
        connection.close_connection(last_stream_id=stream)
        return True

    backend = t.keep(H2Backend(handler))
    weir = t.weir(backend, permits=4, upstream_protocol="http2", queue__max_wait="10s")

    def ask_many(count):
        raw = t.keep(Raw(weir.port, within=10))
        return [raw.ask(get("/")).status for _ in range(count)]

    equal(ask_many(50), [200] * 50, "one after another")
    for _ in range(30):
        # In rounds, so that none is turned away more often than the two others come first.
        asking = [Background(ask_many, 1) for _ in range(3)]
        equal([call.result(20) for call in asking], [[200]] * 3, "three at once")
    check(weir.total("weir_upstream_retries_total") > 0, "no retry is counted")


def keeps_its_connection(client, status):
    started = time.monotonic()
    while time.monotonic() - started < 2.5:
        response = client.response(client.request())
        equal((response.status, response.complete), (status, True), "response")
        check(not client.leaving, f"GOAWAY after {time.monotonic() - started:.2f} s of requests")
        time.sleep(0.1)  # the pace of this client is what is tested
    client.closed(6)


def test_quick_http2_requests_keep_their_connection(t):
    """Failed before (the rejects): streams that came and went between two looks were not seen."""
    plain = t.plain()
    weir = t.weir(plain, timeouts__h2_idle="1s")
    full = t.weir(plain, permits=1, queue__strategy="immediate", timeouts__h2_idle="1s")
    busy = t.keep(Raw(full.port))
    busy.send(get("/hold"))
    eventually("one is busy", lambda: plain.held == 1, within=10)
    served = Background(keeps_its_connection, t.keep(H2(weir.port)), 200)
    rejected = Background(keeps_its_connection, t.keep(H2(full.port)), 503)
    served.result(20)
    rejected.result(20)
    plain.release.set()
    equal(busy.response().status, 200, "the busy one")


def test_an_old_connection_says_close_before_it_goes(t):
    """Failed before: it was closed with the next request on its way."""
    weir = t.weir(t.plain(), timeouts__connection_age="1s")
    started, told = time.monotonic(), 0
    raw = t.keep(Raw(weir.port))
    while time.monotonic() - started < 3:
        response = raw.ask(get("/"))  # a lost request raises
        equal((response.status, response.complete), (200, True), "response")
        if response.field("connection") == ["close"]:
            told += 1
            raw.closed(5)
            raw = t.keep(Raw(weir.port))
        time.sleep(0.02)  # the pace of this client is what is tested
    check(told >= 1, "no connection was told to close")


def test_a_silent_tunnel_ends_in_a_drain(t):
    """Failed before, with exit code 4: tunnels were told to end too late."""

    def handler(x):
        x.send(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        x.hold()

    plain = t.plain(handler)
    weir = t.weir(
        plain,
        drain__lame_duck="500ms",
        drain__timeout="4s",
        drain__grace="10s",
        queue__max_wait="500ms",
    )
    raw = t.keep(Raw(weir.port))
    raw.send(get("/", *UPGRADE))
    equal(raw.response().status, 101, "status")
    weir.signal()
    equal(weir.ended(within=10), 0, "exit code")
    plain.release.set()


def status(weir):
    return json.loads(weir.admin("/status")[1])


def test_who_waits_in_the_backlog_is_served_in_a_drain(t):
    """Failed before: the port was closed under the client that max_connections kept waiting."""
    plain = t.plain()
    weir = t.weir(
        plain,
        limits__max_connections=3,
        drain__lame_duck="500ms",
        drain__timeout="8s",
        drain__grace="20s",
        queue__max_wait="500ms",
    )
    busy = [t.keep(Raw(weir.port, within=10)) for _ in range(3)]
    for raw in busy:
        raw.send(get("/hold"))
    eventually("all places are taken", lambda: plain.held == 3, within=10)
    fourth = t.keep(Raw(weir.port, within=10))
    fourth.send(get("/fourth"))
    weir.signal()
    eventually("the lame duck is over", lambda: status(weir)["phase"] == "draining", within=5)
    plain.release.set()
    equal([raw.response().status for raw in busy], [200] * 3, "the busy ones")
    equal(fourth.response().status, 200, "the fourth")
    equal(weir.ended(within=12), 0, "exit code")


def test_a_broken_chunked_response_is_a_reset_for_http_1_0(t):
    """Failed before: a clean end, which is how HTTP/1.0 says that a response is whole."""

    def handler(x):
        x.head(200, [("Transfer-Encoding", "chunked")])
        x.send(b"64\r\n" + b"x" * 100 + b"\r\n")
        x.keep = False

    weir = t.weir(t.plain(handler))
    raw = t.keep(Raw(weir.port, within=10))
    raw.send("GET / HTTP/1.0\r\nHost: weir.test\r\n\r\n")
    with contextlib.suppress(ConnectionResetError):
        while raw.sock.recv(64 * 1024):
            pass
        check(False, "the connection ended as if the response were whole")
    eventually("it is counted", lambda: weir.outcome("failed") == 1, within=10)


def is_ended_by_the_head_timer(raw):
    seconds, said = raw.closed(10)
    check(said[9:12] in (b"", b"408"), f"it was told {said[:100]}")
    check(seconds < 8, f"closed after {seconds:.2f} s, timer 0.7 s")


def test_a_part_of_a_head_with_a_first_request_is_on_the_clock(t):
    """Failed before: such a part was taken for an idle connection, which may stay longer."""
    weir = t.weir(t.plain(), timeouts__head="700ms", timeouts__keep_alive_idle="20s")
    raw = t.keep(Raw(weir.port))
    raw.send(get("/") + "GET / HTT")
    equal(raw.response().status, 200, "the whole one")
    is_ended_by_the_head_timer(raw)


def test_a_part_of_a_head_with_a_later_request_is_on_the_clock(t):
    """Failed before: as above."""
    weir = t.weir(t.plain(), timeouts__head="700ms", timeouts__keep_alive_idle="20s")
    raw = t.keep(Raw(weir.port))
    equal(raw.ask(get("/")).status, 200, "the first")
    raw.send(get("/") + "GET / HTT")
    equal(raw.response().status, 200, "the second")
    is_ended_by_the_head_timer(raw)


def test_a_part_of_a_head_behind_a_pending_response_is_on_the_clock(t):
    """Failed before: as above."""
    plain = t.plain()
    weir = t.weir(plain, timeouts__head="700ms", timeouts__keep_alive_idle="20s")
    raw = t.keep(Raw(weir.port))
    raw.send(get("/hold"))
    eventually("the response is pending", lambda: plain.held == 1, within=10)
    raw.send("GET / HTT")
    plain.release.set()
    equal(raw.response().status, 200, "the whole one")
    is_ended_by_the_head_timer(raw)


def test_the_last_of_reloads_at_once_is_in_effect(t):
    """Failed before, in one run of several: /config told one reading of the file, and the gate
    had another."""
    weir = t.weir(t.plain(), permits=64)
    new = weir.file.with_suffix(".new")
    for turn in range(200):
        calls = []
        for number in range(6):
            permits = (64, 8)[(turn + number) % 2]  # at last 64
            new.write_text(toml(weir.settings | {"memory.target_memory": f"{permits}Mi"}))
            os.replace(new, weir.file)
            if number < 5:
                weir.signal(signal.SIGHUP)
            calls.append(Background(weir.admin, "/reload", "POST"))
        equal([call.result()[0] for call in calls], [200] * 6, "statuses")
        said = json.loads(weir.admin("/config")[1])["memory.target_memory"]["value"]
        limit = status(weir)["gate"]["permit_limit"]
        equal((said, limit), (f"{permits}Mi", permits), f"turn {turn}: /config, /status")


def black_hole(t):
    """A port whose backlog is full: no connection comes about."""
    listener = t.keep(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(3):
        filler = t.keep(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def told(weir, kind):
    """The lines that warn of such an error of the upstream."""
    lines = [json.loads(line) for line in weir.log().splitlines() if line.endswith("}")]
    return [line for line in lines if line["level"] == "WARN" and line.get("kind") == kind]


def test_each_kind_of_upstream_error_is_counted_and_told(t):
    """Failed before: they were not counted, nor told in the log."""
    silent = t.plain()
    upstreams = {
        "connect": f"http://127.0.0.1:{free_port()}",
        "connect_timeout": black_hole(t),
        "reset": t.plain(break_off("before the head")),
        "response_head_timeout": silent,
        "protocol": t.plain(lambda x: x.send(b"220 mail.test ESMTP\r\n")),
        "body": t.plain(break_off("content-length")),
    }
    for kind, upstream in upstreams.items():
        # Only the timer in question is short: a slow machine must not take one for the other.
        connect = "300ms" if kind == "connect_timeout" else "10s"
        head = "300ms" if kind == "response_head_timeout" else "10s"
        weir = t.weir(upstream, timeouts__connect=connect, timeouts__response_head=head)
        asked = [t.keep(Raw(weir.port, within=10)) for _ in range(3)]
        for raw in asked:
            raw.send(get("/hold"))
        for raw in asked:
            raw.response()
        eventually(f"{kind}: all failed", lambda w=weir: w.outcome("failed") == 3, within=10)
        equal(weir.total("weir_upstream_errors_total", kind=kind), 3, f"{kind}: its series")
        equal(weir.total("weir_upstream_errors_total"), 3, f"{kind}: all series")
        eventually(f"{kind}: it is told", lambda w=weir, k=kind: told(w, k), within=5)
        equal(len(told(weir, kind)), 1, f"{kind}: lines in the log, one a second at most")
    silent.release.set()
