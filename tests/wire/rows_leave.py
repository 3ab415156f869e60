"""Rows about clients that leave while they wait for a place."""

import math
import statistics
import time

from backends import pattern
from board import ABSENT, GOOD, HARM, OTHER, Row, Seen
from frames import DATA, RST, Frames, block, frame, headers
from harness import Failure, eventually
from raw import Raw, get, post

# Promised; the median of so many counts, so that one late look of a busy machine does not.
NOTICED_WITHIN = 0.25
TRIALS = 5

GONE = block(path="/gone")
CANCEL = b"\0\0\0\x08"


class Holder:
    """Takes the one place until it is let go."""

    def __init__(self, peer):
        self.peer = peer
        peer.recorder.release.clear()

        def handler(x):
            if x.request.target == "/holder":
                x.hold()
            peer.recorder.answer(x)

        peer.recorder.handler = handler
        self.raw = Raw(peer.port, within=20)
        self.raw.send(get("/holder"))
        eventually("the place is taken", lambda: peer.recorder.held == 1, 5)
        peer.arrived += 1

    def let_go(self):
        self.peer.recorder.release.set()
        response = self.raw.response()
        self.raw.close()
        return response.status == 200


def seconds_until_gone(peer, most=2.0):
    """Until the first look that sees nobody wait, by when that look began: how long a look itself
    takes is the machine's."""
    started = time.monotonic()
    while (looked := time.monotonic()) - started < most:
        if peer.queued() == 0:
            return looked - started
        time.sleep(0.005)
    return math.inf


def leave(name, begin, go):
    """Some wait and leave, one after the other: noticed in time, and never at the backend."""

    def act(peer):
        if not peer.queued:
            return ABSENT
        holder = Holder(peer)
        mark = peer.recorder.mark()
        taken, text = [], ""
        while not text and len(taken) < TRIALS and math.inf not in taken:
            waiting = begin(peer)
            peer.arrived += 1
            try:
                eventually("it waits", lambda: peer.queued() == 1, 3)
            except Failure:
                text = f"never seen to wait ({peer.queued()})"
            go(waiting)
            taken.append(seconds_until_gone(peer))
        late = statistics.median(taken) > NOTICED_WITHIN
        text = text or ("keeps its place" if math.inf in taken else "gone late" if late else "gone in time")
        served = holder.let_go()
        peer.recorder.quiet()
        time.sleep(0.05)  # what a dead client's request would take to reach the backend
        dead = len(peer.recorder.since(mark))
        text += "; its request reached the backend" if dead else ""
        text += "" if served else "; the one before it was lost"
        return Seen(GOOD if text == "gone in time" else OTHER if text == "gone late" else HARM, text)

    return Row(name, "gone in time, nothing at the backend", act)


def sends(data):
    def begin(peer):
        raw = Raw(peer.port, within=3)
        raw.push(data)
        return raw

    return begin


def opens(data):
    def begin(peer):
        connection = Frames(peer.h2_port)
        connection.push(data)
        return connection

    return begin


def leave_rows():
    upload = ("Content-Length: 2000000",)
    states = {
        "no body": get("/gone"),
        "a small body": post("/gone", b"ab"),
        "a body of 100 KB, unread": post("/gone", pattern(100_000)),
        "part of a body": get("/gone", *upload, method="POST").encode() + b"x" * 5000,
        "a whole chunked body": get("/gone", "Transfer-Encoding: chunked", method="POST").encode() + b"2\r\nab\r\n0\r\n\r\n",
        "Expect: 100-continue": get("/gone", *upload, "Expect: 100-continue", method="PUT").encode(),
        "a head without its body": get("/gone", *upload, method="PUT").encode(),
        "a request pipelined behind it": (get("/gone") + get("/gone2")).encode(),
    }
    for name, data in states.items():
        yield leave(f"{name}, FIN", sends(data), lambda raw: raw.close())
        yield leave(f"{name}, RST", sends(data), lambda raw: raw.reset())
    one = headers(1, GONE)
    yield leave("HTTP/2, the stream is reset", opens(one), lambda it: it.push(frame(RST, 0, 1, CANCEL)))
    yield leave("HTTP/2, the connection is closed", opens(one), lambda it: it.close())
    body = headers(1, block(method="POST", path="/gone"), end=False) + frame(DATA, 0, 1, b"x" * 10_000)
    yield leave("HTTP/2 with part of a body, reset", opens(body), lambda it: it.push(frame(RST, 0, 1, CANCEL)))


def storm(peer):
    """Many wait on connections of their own, all but the last few leave at once."""
    if not peer.queued:
        return ABSENT
    holder = Holder(peer)
    mark = peer.recorder.mark()
    leavers = [sends(get("/gone"))(peer) for _ in range(300)]
    eventually("they wait", lambda: peer.queued() == 300, 5)
    stay = []
    for number in range(10):
        raw = Raw(peer.port, within=10)
        raw.send(get(f"/stay-{number}"))
        stay.append(raw)
        eventually("it waits", lambda n=number: peer.queued() == 301 + n, 3)
    peer.arrived += 310
    for raw in leavers:
        raw.reset()
    text = gone(peer, 1.5)
    holder.let_go()
    statuses = []
    for raw in stay:
        try:
            statuses.append(raw.response().status)
        except Failure:
            statuses.append(0)
        raw.close()
    return the_last(peer, mark, text, statuses)


def storm_of_streams(peer):
    """The same with 10,000 streams of HTTP/2, on 101 connections: every other one of the leaving
    resets its streams, the others close."""
    if not peer.queued:
        return ABSENT
    holder = Holder(peer)
    mark = peer.recorder.mark()
    crowd = [opens(b"".join(headers(1 + 2 * at, GONE) for at in range(100 if n else 90)))(peer) for n in range(100)]
    eventually("they wait", lambda: peer.queued() == 9990, 12)
    last = Frames(peer.h2_port, within=10)
    streams = [1 + 2 * at for at in range(10)]
    for number, stream in enumerate(streams):
        last.push(headers(stream, block(path=f"/stay-{number}")))
        eventually("it waits", lambda n=number: peer.queued() == 9991 + n, 3)
    peer.arrived += 10_000
    resets = b"".join(frame(RST, 0, 1 + 2 * at, CANCEL) for at in range(100))
    for number, connection in enumerate(crowd):
        if number % 2:
            connection.push(resets)
        else:
            connection.close()
    text = gone(peer, 5)
    holder.let_go()
    statuses = [last.statuses.get(stream) for stream in streams if last.answered(stream)]
    for connection in [last, *crowd]:
        connection.close()
    return the_last(peer, mark, text, statuses)


def gone(peer, within):
    try:
        eventually("they are gone", lambda: peer.queued() == 10, within)
        return "gone"
    except Failure:
        return "some keep their places"


def the_last(peer, mark, text, statuses):
    """What became of the ten that stayed."""
    got = [one.target for one in peer.recorder.since(mark)]
    dead = "/gone" in got
    text += "; those who stay are served" if statuses == [200] * 10 else "; some who stay are not served"
    text += ", in order" if [t for t in got if t != "/gone"] == [f"/stay-{n}" for n in range(10)] else ", out of order"
    text += "; dead requests reach the backend" if dead else ""
    return Seen(GOOD if text == "gone; those who stay are served, in order" else HARM, text)


LEAVE_ROWS = [
    *leave_rows(),
    Row("300 of 310 leave at once", "gone; those who stay are served, in order", storm),
    Row("9,990 of 10,000 leave at once, on HTTP/2", "gone; those who stay are served, in order", storm_of_streams),
]
