"""grpcio through weir sees what grpcio sees directly; rejected calls have their documented status."""

import concurrent.futures
import threading

import grpc

from harness import check, equal, eventually

MEGABYTE = 1 << 20
# Above grpc's own default of 4 MB, for the case of large messages.
LARGE = [("grpc.max_receive_message_length", 32 * MEGABYTE), ("grpc.max_send_message_length", 32 * MEGABYTE)]


class Echo(grpc.GenericRpcHandler):
    """A service of bytes: no generated code, no message format."""

    def __init__(self):
        self.cancelled = threading.Event()
        self.waiting = threading.Event()
        self.release = threading.Event()

    def service(self, details):
        kinds = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Break": grpc.unary_stream_rpc_method_handler(self.breaks),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
        }
        return kinds.get(details.method.removeprefix("/t.Echo/"))

    def unary(self, request, context):
        sent = {key: value for key, value in context.invocation_metadata() if key.startswith("x-")}
        known = [(key, sent[key]) for key in ("x-word", "x-raw-bin") if key in sent]
        context.send_initial_metadata([("x-first", "1"), *known])
        context.set_trailing_metadata([("x-last", "2"), *known])
        return b"echo:" + request

    def fail(self, _, context):
        context.set_trailing_metadata([("x-why", "because")])
        context.abort(grpc.StatusCode.NOT_FOUND, "nicht gefünden: 100%\n\tnot at all ☺")

    def wait(self, _, context):
        context.add_callback(self.cancelled.set)
        self.waiting.set()
        self.release.wait(20)
        return b"waited"

    def down(self, request, _):
        for number in range(int(request)):
            yield b"%d" % number

    def breaks(self, _, context):
        yield b"one"
        context.abort(grpc.StatusCode.DATA_LOSS, "after one")

    def up(self, requests, _):
        sizes = [len(request) for request in requests]
        return b"%d %d" % (len(sizes), sum(sizes))

    def both(self, requests, _):
        for request in requests:
            yield request[::-1]


class Server:
    """A grpcio server with the service above."""

    def __init__(self):
        self.echo = Echo()
        self.pool = concurrent.futures.ThreadPoolExecutor(16)
        self.server = grpc.server(self.pool, options=LARGE)
        self.server.add_generic_rpc_handlers((self.echo,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.url = f"http://127.0.0.1:{self.port}"
        self.server.start()

    def close(self):
        self.echo.release.set()
        self.server.stop(0).wait(5)
        self.pool.shutdown(wait=False, cancel_futures=True)




def channel(t, port):
    options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0), *LARGE]
    return t.keep(grpc.insecure_channel(f"127.0.0.1:{port}", options))


def start(t, **settings):
    server = t.keep(Server())
    weir = t.weir(server, **settings)
    return server, weir, channel(t, weir.port), channel(t, server.port)


def outcome(call, *arguments, **options):
    """Everything a unary call came to."""
    options.setdefault("timeout", 10)
    try:
        response, rpc = call.with_call(*arguments, **options)
    except grpc.RpcError as error:
        return error.code(), error.details(), metadata(error.trailing_metadata()), None
    found = metadata(rpc.initial_metadata()) + metadata(rpc.trailing_metadata())
    return rpc.code(), rpc.details(), found, response


def metadata(pairs):
    return sorted((key, value) for key, value in pairs or () if key.startswith("x-"))


def test_unary(t):
    _, weir, ours, theirs = start(t)
    for size in (0, 1, 1000, MEGABYTE):
        through, direct = (outcome(c.unary_unary("/t.Echo/Unary"), b"x" * size) for c in (ours, theirs))
        equal(through, direct, f"{size} bytes")
        equal(through[0], grpc.StatusCode.OK, "code")
    weir.assert_at_rest()
    equal(weir.outcome("served"), 4, "served")


def test_metadata(t):
    _, _, ours, theirs = start(t)
    sent = [("x-word", "hello"), ("x-raw-bin", bytes(range(256)))]
    through, direct = (
        outcome(c.unary_unary("/t.Echo/Unary"), b"", metadata=sent) for c in (ours, theirs)
    )
    equal(through, direct, "outcome")
    equal(through[2].count(("x-raw-bin", bytes(range(256)))), 2, "binary metadata, there and back")


def test_error_status_message_and_trailers(t):
    _, weir, ours, theirs = start(t)
    through, direct = (outcome(c.unary_unary("/t.Echo/Fail"), b"") for c in (ours, theirs))
    equal(through, direct, "outcome")
    equal((through[0], through[2]), (grpc.StatusCode.NOT_FOUND, [("x-why", "because")]), "outcome")
    through, direct = (outcome(c.unary_unary("/t.Echo/Absent"), b"") for c in (ours, theirs))
    equal(through, direct, "an unknown method")
    equal(weir.outcome("served"), 2, "served: the backend's own errors are answers")


def test_server_streaming(t):
    _, _, ours, theirs = start(t)
    for count in (0, 1, 2000):
        want = [b"%d" % number for number in range(count)]
        for c in (ours, theirs):
            got = list(c.unary_stream("/t.Echo/Down")(b"%d" % count, timeout=10))
            equal(got, want, f"{count} messages")


def test_server_streaming_that_fails(t):
    _, _, ours, theirs = start(t)
    outcomes = []
    for c in (ours, theirs):
        got, call = [], c.unary_stream("/t.Echo/Break")(b"", timeout=10)
        try:
            for message in call:
                got.append(message)
        except grpc.RpcError as error:
            outcomes.append((got, error.code(), error.details()))
    equal(outcomes[0], ([b"one"], grpc.StatusCode.DATA_LOSS, "after one"), "through weir")
    equal(outcomes[0], outcomes[-1], "through weir against direct")


def test_client_streaming(t):
    _, _, ours, theirs = start(t)
    for count in (0, 1, 500):
        for c in (ours, theirs):
            call = c.stream_unary("/t.Echo/Up")
            got = call(iter([b"x" * 1000] * count), timeout=10)
            equal(got, b"%d %d" % (count, 1000 * count), f"{count} messages")


def test_bidirectional_in_lock_step(t):
    """Each answer is awaited before the next message is sent, so nothing may be held back."""
    _, weir, ours, theirs = start(t)
    for c in (ours, theirs):
        turn = threading.Semaphore(1)

        def messages(turn=turn):
            for number in range(50):
                if not turn.acquire(timeout=5):
                    return
                yield b"%03d" % number

        got = []
        for answer in c.stream_stream("/t.Echo/Both")(messages(), timeout=10):
            got.append(answer)
            if len(got) == 25 and c is ours:
                equal(weir.in_flight(), 1, "in flight in the middle of the stream")
            turn.release()
        equal(got, [(b"%03d" % number)[::-1] for number in range(50)], "answers")


def test_large_messages(t):
    _, _, ours, theirs = start(t)
    request = bytes(8 * MEGABYTE)
    for c in (ours, theirs):
        code, _, _, response = outcome(c.unary_unary("/t.Echo/Unary"), request)
        equal((code, len(response or b"")), (grpc.StatusCode.OK, 5 + len(request)), "code, bytes")
        got = list(c.stream_stream("/t.Echo/Both")(iter([bytes(MEGABYTE)] * 8), timeout=10))
        equal([len(message) for message in got], [MEGABYTE] * 8, "streamed")


def test_a_deadline_reaches_the_backend(t):
    server, weir, ours, _ = start(t)
    code, *_ = outcome(ours.unary_unary("/t.Echo/Wait"), b"", timeout=0.5)
    equal(code, grpc.StatusCode.DEADLINE_EXCEEDED, "code")
    check(server.echo.cancelled.wait(3), "the backend did not hear of it")
    weir.assert_at_rest(1)


def test_a_cancelled_call_gives_its_permit_back(t):
    server, weir, ours, _ = start(t)
    call = ours.unary_unary("/t.Echo/Wait").future(b"", timeout=10)
    check(server.echo.waiting.wait(3), "the call did not reach the backend")
    equal(weir.in_flight(), 1, "in flight")
    call.cancel()
    check(server.echo.cancelled.wait(3), "the backend did not hear of it")
    weir.assert_at_rest(1)
    equal(weir.outcome("cancelled"), 1, "cancelled")


def rejected(t, **settings):
    server, weir, ours, _ = start(t, permits=1, **settings)
    holder = ours.unary_unary("/t.Echo/Wait").future(b"", timeout=20)
    check(server.echo.waiting.wait(3), "the holder did not reach the backend")
    try:
        ours.unary_unary("/t.Echo/Unary")(b"", timeout=10)
        error = None
    except grpc.RpcError as raised:
        error = raised
    check(error is not None, "the call was not rejected")
    server.echo.release.set()
    equal(holder.result(10), b"waited", "the holder's response")
    equal(weir.outcome("rejected"), 1, "rejected")
    return error, dict(error.trailing_metadata())


def test_rejected_calls_are_resource_exhausted(t):
    error, trailers = rejected(t, queue__strategy="immediate")
    equal(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED, "code")
    check(error.details(), "no message")
    check(int(trailers["grpc-retry-pushback-ms"]) > 0, "grpc-retry-pushback-ms")


def test_calls_rejected_after_a_wait_too(t):
    error, trailers = rejected(t, queue__max_wait="200ms")
    equal(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED, "code")
    check(int(trailers["grpc-retry-pushback-ms"]) > 0, "grpc-retry-pushback-ms")


def test_the_status_of_rejected_calls_can_be_chosen(t):
    error, _ = rejected(t, queue__strategy="immediate", reject__grpc_status=14)
    equal(error.code(), grpc.StatusCode.UNAVAILABLE, "code")


def test_a_backend_that_is_down_is_unavailable(t):
    server, weir, ours, _ = start(t)
    server.close()
    code, *_ = outcome(ours.unary_unary("/t.Echo/Unary"), b"")
    equal(code, grpc.StatusCode.UNAVAILABLE, "code")
    eventually("it is counted", lambda: weir.outcome("failed") == 1)
