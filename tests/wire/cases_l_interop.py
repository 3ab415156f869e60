"""Three gRPC stacks through weir see what they see directly, and weir's own refusals as documented."""

import queue
import time

import grpc

from backends import H2Backend
from harness import accepts, check, equal, eventually
from interop import CLIENTS, EXPECTED, OK, Server, answer, ask, outcomes
from raw import H2, Raw, get


def all_cases(t, make):
    """Each case through weir, equal to going direct and to what it is to come to."""
    server = t.keep(Server())
    weir = t.weir(server, permits=4)
    through, direct = (outcomes(t, make, port, list(EXPECTED)) for port in (weir.port, server.port))
    for case, expected in EXPECTED.items():
        equal(direct[case], expected, f"{case}, direct")
        equal(through[case], expected, f"{case}, through weir")
    # Three of the cases make two calls.
    weir.assert_at_rest()
    equal(weir.outcome("served"), len(EXPECTED) + 2, "served")


def test_grpcio(t):
    all_cases(t, "grpcio")


def test_tonic(t):
    all_cases(t, "tonic")


def test_grpc_js(t):
    all_cases(t, "grpc-js")


def refused(t, want, **settings):
    """What all three are told by a weir whose only permit is taken."""
    plain = t.plain()
    weir = t.weir(plain, permits=1, **settings)
    holder = t.keep(Raw(weir.port, within=20))
    holder.send(get("/hold"))
    eventually("the permit is taken", lambda: weir.in_flight() == 1)
    for make in CLIENTS:
        for case, outcome in outcomes(t, make, weir.port, ["empty_unary", "ping_pong"]).items():
            check(outcome.pop("message").startswith("weir: "), f"{make}, {case}: not weir's message")
            outcome.pop("sizes", None)
            equal(outcome, want, f"{make}, {case}")
    equal(weir.outcome("rejected"), 6, "rejected")
    equal(len(plain.requests), 1, "requests that the backend saw")
    plain.release.set()
    equal(holder.response().status, 200, "the holder's answer")


def test_no_permit_is_resource_exhausted_on_all_three(t):
    refused(t, {"code": 8, "pushback": True}, queue__strategy="immediate")


def test_a_wait_in_vain_too(t):
    refused(t, {"code": 8, "pushback": True}, queue__max_wait="100ms")


def test_another_status_reaches_all_three(t):
    refused(t, {"code": 14, "pushback": True}, queue__strategy="immediate", reject__grpc_status=14)


def test_a_drain_is_unavailable_on_all_three(t):
    """They are told to go, find nobody to connect to, and say so; a call that is open is served."""
    server = t.keep(Server())
    weir = t.weir(server, drain__lame_duck="0s", drain__timeout="15s")
    clients = {
        make: t.keep(client(weir.port, ["empty_unary", "pause", "empty_unary"]))
        for make, client in CLIENTS.items()
    }
    for make, client in clients.items():
        equal(client.next(), OK, f"{make}, before the drain")
    channel = t.keep(grpc.insecure_channel(f"127.0.0.1:{weir.port}", [("grpc.enable_http_proxy", 0)]))
    last = queue.SimpleQueue()
    last.put(ask([1]))
    call = channel.stream_stream("/weir.test.Interop/Both")(iter(last.get, None), timeout=20)
    next(call)
    weir.signal()
    eventually("no new connections", lambda: not accepts(weir.port))
    # That of the open call stays.
    eventually("those who idle have left", lambda: weir.total("weir_connections") == 1)
    for make, client in clients.items():
        equal(client.next()["code"], 14, f"{make}, in the drain")
    last.put(ask([2, 3]))
    last.put(None)
    equal([len(message) for message in call], [len(answer(2)), len(answer(3))], "the open call")
    equal(weir.ended(within=10), 0, "exit code")


def grpc_call(client, path, timeout=None, end=True):
    fields = [("content-type", "application/grpc"), ("te", "trailers")]
    fields += [("grpc-timeout", timeout)] if timeout else []
    return client.request(fields, method="POST", path=path, end=end)


def test_a_call_late_in_a_drain_is_unavailable(t):
    """On a connection that has asked for nothing yet, which is told to go last."""
    plain = t.plain()
    weir = t.weir(plain, queue__max_wait="4s", drain__lame_duck="0s", drain__timeout="4500ms")
    holder = t.keep(Raw(weir.port, within=20))
    holder.send(get("/hold"))
    eventually("one is busy", lambda: plain.held == 1)
    client = t.keep(H2(weir.port))
    others = [t.keep(Raw(weir.port)) for _ in range(200)]
    eventually("all are connected", lambda: weir.total("weir_connections") == 202)
    weir.signal()
    # The refusals begin half a second into the drain; each connection can ask but once.
    eventually("refusals", lambda: others.pop().ask(get("/")).status == 503)
    response = client.response(grpc_call(client, "/late"))
    equal((response.status, response.one("grpc-status")), (200, "14"), "status")
    equal(response.one("weir-reject-reason"), "draining", "reason")
    plain.release.set()
    equal(holder.response().status, 200, "the holder's answer")
    equal(weir.ended(within=10), 0, "exit code")


class Calls(H2Backend):
    """Answers every call but those to /hold, and keeps what each was told of its deadline."""

    def __init__(self):
        super().__init__(self.answer)

    def answer(self, connection, stream):
        fields = dict(self.h2_heads[-1])
        if fields[":path"] != "/hold":
            connection.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
            connection.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    def timeouts(self):
        return [dict(fields).get("grpc-timeout") for fields in self.h2_heads]


def busy(t, **settings):
    """A weir whose only permit is taken by a call, and that call."""
    backend = t.keep(Calls())
    weir = t.weir(backend, permits=1, **settings)
    holder = t.keep(H2(weir.port))
    stream = grpc_call(holder, "/hold")
    eventually("the permit is taken", lambda: backend.h2_requests == 1)
    return backend, weir, lambda: holder.reset(stream)


def test_a_deadline_passes_byte_for_byte_without_a_wait(t):
    backend = t.keep(Calls())
    weir = t.weir(backend)
    client = t.keep(H2(weir.port))
    said = ["00000500m", "3S", "99999999H", "1 potato", "123456789m", "5s"]
    for timeout in said:
        response = client.response(grpc_call(client, "/call", timeout))
        equal(response.trailers, [("grpc-status", "0")], f"trailers, {timeout}")
    equal(backend.timeouts(), said, "what the backend was told")


def test_what_the_wait_leaves_of_a_deadline_is_passed_on(t):
    backend, weir, release = busy(t, queue__max_wait="10s")
    client = t.keep(H2(weir.port))
    begun = time.monotonic()
    stream = grpc_call(client, "/call", "5S")
    eventually("it waits", lambda: weir.queued() == 1)
    time.sleep(0.3)  # the wait that is measured
    release()
    equal(client.response(stream).status, 200, "status")
    took = time.monotonic() - begun
    told = backend.timeouts()[-1]
    check(told.endswith("u"), f"told {told}")
    left = int(told[:-1]) / 1e6
    check(5 - took <= left <= 4.7, f"told {told} after a wait of at most {took:.3f} s")


def test_a_deadline_that_passes_in_the_queue_is_not_forwarded(t):
    backend, weir, release = busy(t, queue__max_wait="10s")
    client = t.keep(H2(weir.port))
    begun = time.monotonic()
    response = client.response(grpc_call(client, "/call", "200m"))
    took = time.monotonic() - begun
    equal((response.status, response.one("grpc-status")), (200, "4"), "status")
    equal(response.one("weir-reject-reason"), "expired", "reason")
    check(0.19 < took < 2, f"answered after {took:.3f} s")
    none = client.response(grpc_call(client, "/call", "0m"))
    equal(none.one("grpc-status"), "4", "with nothing left at all")
    release()
    weir.assert_at_rest()
    equal(weir.rejected("expired"), 2, "rejected as expired")
    equal(backend.h2_requests, 1, "calls that the backend saw")


def test_a_deadline_is_gone_before_a_wait_in_vain(t):
    """Whichever ends first decides what the client is told."""
    _, weir, release = busy(t, queue__max_wait="200ms")
    client = t.keep(H2(weir.port))
    response = client.response(grpc_call(client, "/call", "5S"))
    equal(response.one("weir-reject-reason"), "queue_wait", "reason")
    release()
