"""Rows about how a proxy goes, takes a new configuration, and runs out of descriptors, while clients
are there. Each starts a proxy of its own."""

import contextlib
import os
import resource
import signal
import subprocess
import threading
import time

import cores
import peers
from board import ABSENT, GOOD, HARM, OTHER, Row, Seen
from frames import Frames, block, headers
from harness import Failure, accepts, eventually
from raw import Raw, get
from rows_upgrades import WEBSOCKET, echo

# What weir is told for a stop; the others have no such times. In the last seconds before the timeout,
# as many as one may wait for a place, it refuses who is new.
QUICK = {"drain__lame_duck": "200ms", "drain__timeout": "25s"}


def handler(x):
    """A tunnel, a request that is held, or one that takes 10 ms."""
    if x.request.target == "/ws":
        echo(x)
    elif x.request.target.startswith("/hold"):
        x.hold()
        x.backend.answer(x)
    else:
        time.sleep(0.01)
        x.backend.answer(x)


class Open:
    """One client of each kind, each in the middle of something."""

    def __init__(self, proxy):
        self.proxy, recorder = proxy, proxy.recorder
        self.idle, self.silent = Raw(proxy.port, within=10), Raw(proxy.port)
        self.idle.ask(get("/one"))
        self.h1 = Raw(proxy.port, within=10)
        self.h1.send(get("/hold-h1"))
        self.h2 = Frames(proxy.h2_port, within=10)
        self.h2.push(headers(1, block(path="/hold-h2")))
        self.tunnel = Raw(proxy.port, within=10)
        self.tunnel.send(get("/ws", *WEBSOCKET))
        assert self.tunnel.response().status == 101
        eventually("two are held", lambda: recorder.held == 2, 5)
        self.waits = None
        if proxy.queued:
            self.waits = Raw(proxy.port, within=10)
            self.waits.send(get("/waits"))
            eventually("one waits", lambda: proxy.queued() == 1, 5)

    def finish(self):
        """Lets all of it go on; what was lost of it."""
        lost = []

        def one(name, whole):
            try:
                if not whole():
                    lost.append(name)
            except (Failure, EOFError, OSError, ValueError):
                lost.append(name)

        def tunnel():
            self.tunnel.send(b"still there?")
            return self.tunnel.take(12, time.monotonic() + 5) == b"still there?"

        one("WebSocket", tunnel)
        self.tunnel.close()
        self.proxy.recorder.release.set()
        one("HTTP/1.1", lambda: self.h1.response().status == 200)
        one("HTTP/2", lambda: self.h2.answered(1) == "200")
        if self.waits:
            one("the one that waited", lambda: self.waits.response().status == 200)
        for client in (self.idle, self.silent, self.h1, self.h2, self.waits):
            if client:
                client.close()
        return lost


class Asker(threading.Thread):
    """Asks again and again, HTTP/1.1 or a stream at a time of HTTP/2, until told to end or until the
    listener is gone. Notes what got no answer."""

    def __init__(self, proxy, number, over):
        super().__init__(daemon=True)
        self.proxy, self.over = proxy, over
        self.h2 = number % 4 == 3
        self.name, self.count, self.served = f"/asker-{number}-", 0, 0
        self.failed = []  # the targets that got no 200
        self.start()

    def run(self):
        while not self.over.is_set() and accepts(self.proxy.port):
            with contextlib.suppress(OSError):
                connection = Frames(self.proxy.h2_port) if self.h2 else Raw(self.proxy.port)
                try:
                    (self.on_h2 if self.h2 else self.on_h1)(connection)
                finally:
                    connection.close()

    def next(self):
        self.count += 1
        return f"{self.name}{self.count}"

    def on_h1(self, raw):
        first = True
        while not self.over.is_set():
            target = self.next()
            try:
                response = raw.ask(get(target))
                self.note(target, response.status, response.complete)
                if "close" in response.field("connection"):
                    return
            except (Failure, ValueError, IndexError):
                # What the kernel had accepted as the listener closed never was the proxy's.
                if not first or accepts(self.proxy.port):
                    self.failed.append(target)
                return
            first = False

    def on_h2(self, connection):
        stream = 1
        while not self.over.is_set() and not connection.ended and connection.goaway is None:
            target = self.next()
            connection.push(headers(stream, block(path=target)))
            connection.until(lambda: stream in connection.over or stream in connection.resets or connection.ended)
            if stream in connection.over:
                self.note(target, connection.statuses.get(stream), True)
            elif stream > 1 or accepts(self.proxy.port):
                self.failed.append(target)
            stream += 2

    def note(self, target, status, complete):
        if status == 200 and complete:
            self.served += 1
        else:
            self.failed.append(target)


def verdict(askers, recorder):
    """An answer is lost where the backend gave one; who was turned away before may ask again."""
    reached = {got.target for got in recorder.since(0)}
    failed = [target for asker in askers for target in asker.failed]
    if any(target in reached for target in failed):
        return "some answers are lost"
    return "some are turned away unserved" if failed else "none fails"


MARKS = {"none fails": GOOD, "some are turned away unserved": OTHER}


def ended(proxy, within=6.0):
    """How it ended."""
    if proxy.weir:
        proxy.weir.over = True
    try:
        code = proxy.process.wait(within)
    except subprocess.TimeoutExpired:
        return "does not end"
    return "ends with 0" if code == 0 else f"ends with {code}"


def stop_with_all_open(peer):
    if not peer.stop_signal:
        return ABSENT
    proxy = peer.again(peers.QUEUE, idle=10, server="20s", places=3, managed=True, **(QUICK if peer.weir else {}))
    proxy.recorder.handler = handler
    clients = Open(proxy)
    proxy.process.send_signal(proxy.stop_signal)
    eventually("the listener is closed", lambda: not accepts(proxy.port), 5)
    lost = clients.finish()
    text = ("lost: " + ", ".join(lost) if lost else "all are served") + "; " + ended(proxy)
    return Seen(GOOD if text == "all are served; ends with 0" else HARM if lost else OTHER, text)


def stop_under_load(peer):
    """Three times, as it is a race."""
    if not peer.stop_signal:
        return ABSENT
    worst = Seen(GOOD, "none fails; ends with 0")
    for _ in range(3):
        proxy = peer.again(peers.QUEUE, idle=10, server="20s", places=8, managed=True, **(QUICK if peer.weir else {}))
        proxy.recorder.handler = handler
        over = threading.Event()
        askers = [Asker(proxy, number, over) for number in range(12)]
        eventually("all are served", lambda all=askers: min(one.served for one in all) > 2, 10)
        proxy.process.send_signal(proxy.stop_signal)
        how = ended(proxy)
        over.set()
        for asker in askers:
            asker.join(10)
        said = verdict(askers, proxy.recorder)
        mark = MARKS.get(said, HARM)
        now = Seen(OTHER if mark == GOOD and how != "ends with 0" else mark, f"{said}; {how}")
        worst = max(worst, now, key=lambda seen: (GOOD, OTHER, HARM).index(seen.mark))
    return worst


def reloads(peer):
    """Twenty while clients ask, and one of each kind is in the middle of something."""
    proxy = peer.again(peers.QUEUE, idle=10, server="20s", places=40, managed=True)
    proxy.recorder.handler = handler
    proxy.queued = None  # there are places for all
    clients = Open(proxy)
    over = threading.Event()
    askers = [Asker(proxy, number, over) for number in range(8)]
    for _ in range(20):
        proxy.reload()
        time.sleep(0.1)  # the pace of the reloads
    over.set()
    for asker in askers:
        asker.join(10)
    lost, said = clients.finish(), verdict(askers, proxy.recorder)
    text = said + (f"; lost: {', '.join(lost)}" if lost else "")
    return Seen(HARM if lost else MARKS.get(said, HARM), text)


def out_of_descriptors(peer):
    """Clients keep connections until the proxy has no descriptor left, and then leave."""
    proxy = peer.again(idle=20, server="5s")
    inside = Raw(proxy.port, within=3)
    inside.ask(get("/one"))
    pid = proxy.process.pid
    has = len(os.listdir(f"/proc/{pid}/fd"))
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (has + 20, hard))
    crowd = []
    for number in range(60):
        crowd.append(Raw(proxy.port))
        crowd[-1].push(get(f"/crowd-{number}"))
    full = lambda: len(os.listdir(f"/proc/{pid}/fd")) >= has + 18  # noqa: E731
    said = []
    try:
        eventually("its descriptors are taken", full, 3)
        before = cores.seconds(pid)
        time.sleep(1)  # in which it must not spin
        if cores.seconds(pid) - before > 0.5:
            said.append("spins")
        inside.ask(get("/two"))  # whatever it is answered
    except (Failure, OSError, ValueError, IndexError):
        said.append("leaves who is connected without an answer")
    for raw in [inside, *crowd]:
        raw.close()
    seconds = back(proxy)
    if proxy.process.poll() is not None:
        return Seen(HARM, f"dies ({signal.Signals(-proxy.process.returncode).name})")
    if seconds > 1:
        said.append("serves again late" if seconds < 5 else "does not serve again")
    bad = "does not serve again" in said
    return Seen(HARM if bad else OTHER if said else GOOD, "; ".join(said) or "alive; serves again at once")


def back(proxy):
    """After how many seconds a new client is served."""
    started = time.monotonic()
    while time.monotonic() - started < 5:
        with contextlib.suppress(Failure, OSError, ValueError, IndexError):
            raw = Raw(proxy.port, within=0.5)
            try:
                if raw.ask(get("/back")).status == 200:
                    return time.monotonic() - started
            finally:
                raw.close()
        time.sleep(0.02)
    return 5.0


STOP_ROWS = [
    Row("HTTP/1.1, HTTP/2, a WebSocket, one that waits, an idle and a silent one open", "all are served; ends with 0", stop_with_all_open),
    Row("while 12 clients ask, three times", "none fails; ends with 0", stop_under_load),
]
RELOAD_ROWS = [Row("20 reloads while clients of every kind are there", "none fails", reloads)]
DESCRIPTOR_ROWS = [Row("60 clients where there are descriptors for 20", "alive, does not spin, serves again within 1 s", out_of_descriptors)]
