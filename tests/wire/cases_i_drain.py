"""How weir goes, seen from outside."""

import signal
import threading
import time

from harness import accepts, check, equal, eventually
from raw import H2, Raw, get

QUICK = {"drain__lame_duck": "0s", "drain__timeout": "5s"}


def not_ready(weir):
    try:
        return weir.admin("/readyz")[0] == 503
    except OSError:
        return False


def test_idle_weir_ends_at_once_with_0(t):
    weir = t.weir(t.plain(), **QUICK)
    weir.signal()
    equal(weir.ended(within=3), 0, "exit code")


def test_sigint_is_sigterm(t):
    weir = t.weir(t.plain(), **QUICK)
    weir.signal(signal.SIGINT)
    equal(weir.ended(within=3), 0, "exit code")


def test_a_lame_duck_serves_and_says_close(t):
    weir = t.weir(t.plain(), drain__lame_duck="2s", drain__timeout="5s")
    old = t.keep(Raw(weir.port))
    equal(old.ask(get("/")).field("connection"), [], "Connection while serving")
    h2 = t.keep(H2(weir.port))
    equal(h2.response(h2.request()).status, 200, "HTTP/2 while serving")
    started = time.monotonic()
    weir.signal()
    eventually("readiness fails", lambda: not_ready(weir), within=1)
    equal(weir.admin("/livez")[0], 200, "/livez in the lame duck")
    new = t.keep(Raw(weir.port))
    for raw in (old, new):
        response = raw.ask(get("/"))
        equal((response.status, response.one("connection")), (200, "close"), "status, Connection")
        raw.closed(2)
    check(not h2.leaving, "GOAWAY while serving")
    h2.closed(6)
    check(h2.leaving, "HTTP/2 was closed without GOAWAY")
    equal(weir.ended(within=8), 0, "exit code")
    check(time.monotonic() - started >= 1.9, "the lame duck was cut short")


def test_a_drain_waits_for_its_requests(t):
    plain = t.plain()
    weir = t.weir(plain, permits=1, drain__lame_duck="0s", drain__timeout="10s", queue__max_wait="8s")
    busy, queued, idle = (t.keep(Raw(weir.port)) for _ in range(3))
    equal(idle.ask(get("/")).status, 200, "before")
    busy.send(get("/hold"))
    eventually("one is busy", lambda: plain.held == 1)
    queued.send(get("/queued"))
    eventually("one is queued", lambda: weir.queued() == 1)
    weir.signal()
    eventually("the listener is closed", lambda: not accepts(weir.port))
    check(weir.process.poll() is None, "weir left its requests")
    plain.release.set()
    equal((busy.response().status, queued.response().status), (200, 200), "busy, queued")
    equal(weir.ended(within=5), 0, "exit code")


def test_requests_left_over_give_exit_code_4(t):
    plain = t.plain()
    weir = t.weir(plain, drain__lame_duck="0s", drain__timeout="1s", queue__max_wait="100ms")
    raw = t.keep(Raw(weir.port))
    raw.send(get("/hold"))
    eventually("one is busy", lambda: plain.held == 1)
    weir.signal()
    equal(weir.ended(within=5), 4, "exit code")


def test_a_second_signal_ends_at_once_with_5(t):
    plain = t.plain()
    weir = t.weir(plain)
    raw = t.keep(Raw(weir.port))
    raw.send(get("/hold"))
    eventually("one is busy", lambda: plain.held == 1)
    weir.signal()
    eventually("readiness fails", lambda: not_ready(weir))
    started = time.monotonic()
    weir.signal()
    equal(weir.ended(within=3), 5, "exit code")
    check(time.monotonic() - started < 1, "not at once")


def test_weir_drain_is_the_first_signal(t):
    plain = t.plain()
    weir = t.weir(plain, drain__lame_duck="0s", drain__timeout="10s")
    raw = t.keep(Raw(weir.port))
    raw.send(get("/hold"))
    eventually("one is busy", lambda: plain.held == 1)
    done = t.run_weir("drain", "--config", weir.file)
    equal(done.returncode, 0, f"exit code of weir drain ({done.stderr})")
    eventually("the listener is closed", lambda: not accepts(weir.port))
    weir.signal()  # what Kubernetes sends after a preStop hook: no second signal
    plain.release.set()
    equal(raw.response().status, 200, "the busy one")
    equal(weir.ended(within=5), 0, "exit code")


class Client(threading.Thread):
    """Asks again and again until the listener is gone; counts what it did not get."""

    def __init__(self, weir, path):
        super().__init__(daemon=True)
        self.weir, self.path = weir, path
        self.served, self.failures = 0, []
        self.start()

    def run(self):
        while accepts(self.weir.port):
            try:
                raw = Raw(self.weir.port)
            except OSError:
                return  # closed between the look and the connect
            first = True
            try:
                while True:
                    response = raw.ask(get(self.path))
                    if response.status != 200 or not response.complete:
                        self.failures.append(repr(response))
                        return
                    self.served += 1
                    first = False
                    if response.field("connection") == ["close"]:
                        break
            except AssertionError as error:
                # What the kernel had accepted as the listener closed never was weir's.
                if not first or accepts(self.weir.port):
                    self.failures.append(str(error))
            finally:
                raw.close()


def test_nothing_is_lost_under_load(t):
    def handler(x):
        time.sleep(0.01)  # a backend that takes its time
        x.reply(200, body=b"ok")

    for _ in range(3):
        weir = t.weir(t.plain(handler), permits=8, drain__lame_duck="500ms", drain__timeout="5s")
        clients = [Client(weir, "/") for _ in range(16)]
        eventually("all have been served", lambda c=clients: all(x.served > 2 for x in c), within=5)
        weir.signal()
        equal(weir.ended(within=7), 0, "exit code")
        for client in clients:
            client.join(5)
            check(not client.is_alive(), "a client hangs")
        failures = [failure for client in clients for failure in client.failures]
        equal(failures, [], "failed requests")
