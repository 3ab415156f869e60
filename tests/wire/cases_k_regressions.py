"""What reviews by hostile eyes have found, kept found: each case failed before its mending."""

import contextlib
import json
import os
import socket
import time

import h2.events

from backends import H2Backend
from cases_h_websocket import UPGRADE
from harness import Failure, check, equal, eventually, free_port
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
