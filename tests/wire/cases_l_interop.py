"""Three gRPC stacks through weir see what they see directly, and weir's own refusals as documented."""

import grpc

from harness import check, equal, eventually
from interop import CLIENTS, EXPECTED, Server
from raw import H2, Raw, get


def all_cases(t, make):
    """Each case through weir, equal to going direct and to what it is to come to."""
    server = t.keep(Server())
    weir = t.weir(server, permits=4)
    through, direct = (CLIENTS[make](port, list(EXPECTED)) for port in (weir.port, server.port))
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
    for make, client in CLIENTS.items():
        for case in ("empty_unary", "ping_pong"):
            outcome = client(weir.port, [case])[case]
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
