"""The interop cases: a grpcio server for them, and clients of three makes that say in the same words
what each call came to. Messages are encoded by hand, so that no code needs to be generated."""

import json
import os
import pathlib
import queue
import subprocess
from concurrent import futures

import grpc

from harness import check, equal

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TONIC = ROOT / "target" / "wire-tonic" / "debug" / "weir-wire-tonic"
NODE_MODULES = ROOT / "target" / "wire-grpc-js" / "node_modules"
CLIENT_JS = pathlib.Path(__file__).resolve().parent / "grpc-js" / "client.js"

SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
PINGS = [(31415, 27182), (9, 8), (2653, 1828), (58979, 45904)]
SIZES = [size for size, _ in PINGS]
OK = {"code": 0, "message": ""}
TOLD = {"code": 2, "message": "test status message"}
ECHOED = {"initial": "test_initial_metadata_value", "trailing": "ababab"}

# What each case has to come to, whoever asks.
EXPECTED = {
    "empty_unary": OK,
    "large_unary": OK | {"size": 314159},
    "client_streaming": OK | {"total": 74922},
    "server_streaming": OK | {"sizes": SIZES},
    "ping_pong": OK | {"sizes": SIZES},
    "empty_stream": OK | {"sizes": []},
    "status_code_and_message": {"unary": TOLD, "both": TOLD | {"sizes": []}},
    "special_status_message": {"code": 2, "message": SPECIAL},
    "custom_metadata": {
        "unary": OK | {"size": 314159} | ECHOED,
        "both": OK | {"sizes": [314159]} | ECHOED,
    },
    # In the words of the server's library.
    "unimplemented_method": {"code": 12, "message": "Method not found!"},
    "unimplemented_service": {"code": 12, "message": "Method not found!"},
}


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def number_field(tag, number):
    return varint(tag << 3) + varint(number) if number else b""


def bytes_field(tag, data):
    return varint(tag << 3 | 2) + varint(len(data)) + data if data else b""


def ask(sizes=(), body=b"", code=0, message=""):
    packed = b"".join(map(varint, sizes))
    fields = bytes_field(1, packed) + bytes_field(2, body)
    return fields + number_field(3, code) + bytes_field(4, message.encode())


def answer(size=0, total=0):
    return bytes_field(1, bytes(size)) + number_field(2, total)


def read_varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def read(data):
    """The fields of a message by number: numbers, or bytes."""
    fields, at = {}, 0
    while at < len(data):
        key, at = read_varint(data, at)
        value, at = read_varint(data, at)
        if key & 7 == 2:
            value, at = data[at : at + value], at + value
        # A list may also come as one field per element.
        if key == 1 << 3:
            value = fields.get(1, b"") + varint(value)
        fields[key >> 3] = value
    return fields


def sizes_of(fields):
    packed, at, sizes = fields.get(1, b""), 0, []
    while at < len(packed):
        size, at = read_varint(packed, at)
        sizes.append(size)
    return sizes


class Service(grpc.GenericRpcHandler):
    """What the cases ask of a server."""

    def service(self, details):
        kinds = {
            "Empty": grpc.unary_unary_rpc_method_handler(lambda request, _: b""),
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
        }
        return kinds.get(details.method.removeprefix("/weir.test.Interop/"))

    @staticmethod
    def echo(context):
        sent = dict(context.invocation_metadata())
        if "x-echo-initial" in sent:
            context.send_initial_metadata([("x-echo-initial", sent["x-echo-initial"])])
        if "x-echo-trailing-bin" in sent:
            context.set_trailing_metadata([("x-echo-trailing-bin", sent["x-echo-trailing-bin"])])

    @staticmethod
    def end(context, fields):
        if code := fields.get(3):
            status = next(status for status in grpc.StatusCode if status.value[0] == code)
            context.abort(status, fields.get(4, b"").decode())

    def unary(self, request, context):
        fields = read(request)
        self.echo(context)
        self.end(context, fields)
        return answer(sum(sizes_of(fields)))

    def up(self, requests, _):
        return answer(total=sum(len(read(request).get(2, b"")) for request in requests))

    def down(self, request, _):
        for size in sizes_of(read(request)):
            yield answer(size)

    def both(self, requests, context):
        self.echo(context)
        for request in requests:
            fields = read(request)
            self.end(context, fields)
            for size in sizes_of(fields):
                yield answer(size)


class Server:
    """A grpcio server with the service above."""

    def __init__(self):
        self.pool = futures.ThreadPoolExecutor(16)
        self.server = grpc.server(self.pool)
        self.server.add_generic_rpc_handlers((Service(),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.url = f"http://127.0.0.1:{self.port}"
        self.server.start()

    def close(self):
        self.server.stop(0).wait(5)
        self.pool.shutdown(wait=False, cancel_futures=True)


class Grpcio:
    """The cases by grpcio."""

    def __init__(self, channel):
        self.channel = channel

    def method(self, kind, name):
        return getattr(self.channel, kind)(f"/weir.test.{name}")

    @staticmethod
    def end(call, wants_metadata):
        trailing = dict(call.trailing_metadata() or ())
        outcome = {"code": call.code().value[0], "message": call.details() or ""}
        if "grpc-retry-pushback-ms" in trailing:
            outcome["pushback"] = int(trailing["grpc-retry-pushback-ms"]) > 0
        if wants_metadata:
            outcome["initial"] = dict(call.initial_metadata()).get("x-echo-initial")
            outcome["trailing"] = trailing.get("x-echo-trailing-bin", b"").hex()
        return outcome

    def single(self, kind, name, sent, read_answer, metadata=None):
        """A call with one answer."""
        call = self.method(kind, name).future(sent, timeout=20, metadata=metadata)
        failed = call.exception()
        outcome = self.end(call, metadata)
        return outcome if failed else outcome | read_answer(read(call.result()))

    def many(self, kind, name, sent, each=lambda: None, metadata=None):
        """A call with many answers; `each` is called at each."""
        call, sizes = self.method(kind, name)(sent, timeout=20, metadata=metadata), []
        try:
            for message in call:
                sizes.append(len(read(message).get(1, b"")))
                each()
        except grpc.RpcError:
            pass
        return self.end(call, metadata) | {"sizes": sizes}

    def unary(self, message, metadata=None):
        size = lambda fields: {"size": len(fields.get(1, b""))}  # noqa: E731
        return self.single("unary_unary", "Interop/Unary", message, size, metadata)

    def both(self, message, metadata=None):
        return self.many("stream_stream", "Interop/Both", iter([message]), metadata=metadata)

    def nothing(self, name):
        return self.single("unary_unary", name, b"", lambda _: {})

    def ping_pong(self):
        waiting = queue.SimpleQueue()
        left = [ask([size], bytes(body)) for size, body in PINGS]

        def next_one():
            waiting.put(left.pop(0) if left else None)

        next_one()
        return self.many("stream_stream", "Interop/Both", iter(waiting.get, None), next_one)

    def run(self, case):
        told, metadata = ask(code=2, message=TOLD["message"]), (
            ("x-echo-initial", ECHOED["initial"]),
            ("x-echo-trailing-bin", bytes.fromhex(ECHOED["trailing"])),
        )
        large = ask([314159], bytes(271828))
        uploads = (ask(body=bytes(body)) for _, body in PINGS)
        total = lambda fields: {"total": fields.get(2, 0)}  # noqa: E731
        return {
            "empty_unary": lambda: self.nothing("Interop/Empty"),
            "large_unary": lambda: self.unary(large),
            "client_streaming": lambda: self.single("stream_unary", "Interop/Up", uploads, total),
            "server_streaming": lambda: self.many("unary_stream", "Interop/Down", ask(SIZES)),
            "ping_pong": self.ping_pong,
            "empty_stream": lambda: self.many("stream_stream", "Interop/Both", iter(())),
            "status_code_and_message": lambda: {"unary": self.unary(told), "both": self.both(told)},
            "special_status_message": lambda: self.unary(ask(code=2, message=SPECIAL)),
            "custom_metadata": lambda: {
                "unary": self.unary(large, metadata),
                "both": self.both(large, metadata),
            },
            "unimplemented_method": lambda: self.nothing("Interop/Missing"),
            "unimplemented_service": lambda: self.nothing("Absent/Missing"),
        }[case]()


class InProcess:
    """The cases by grpcio, over one channel."""

    def __init__(self, port, cases):
        options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        self.cases = list(cases)

    def next(self):
        """What the next case came to. A `pause` ends when it is asked for what follows."""
        if self.cases[0] == "pause":
            self.cases.pop(0)
        return Grpcio(self.channel).run(self.cases.pop(0))

    def close(self):
        self.channel.close()


class Program:
    """The cases by a client that is a program of its own."""

    def __init__(self, command, port, cases):
        check(pathlib.Path(command[-1]).exists(), f"{command[-1]} is missing: tests/run wire builds it")
        check(NODE_MODULES.is_dir(), f"{NODE_MODULES} is missing: tests/run wire installs it")
        self.cases = list(cases)
        self.process = subprocess.Popen(
            [*map(str, command), f"127.0.0.1:{port}", *cases],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"NODE_PATH": str(NODE_MODULES)},
        )

    def next(self):
        if self.cases[0] == "pause":
            self.cases.pop(0)
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        # Bounded by the case's own alarm.
        line = self.process.stdout.readline()
        check(line, f"{self.process.args[0]} ended with {self.process.poll()} before {self.cases[0]}")
        said = json.loads(line)
        equal(said["case"], self.cases.pop(0), "case")
        return said["outcome"]

    def close(self):
        self.process.kill()
        self.process.wait(5)
        self.process.stdin.close()
        self.process.stdout.close()


CLIENTS = {
    "grpcio": InProcess,
    "tonic": lambda port, cases: Program([TONIC], port, cases),
    "grpc-js": lambda port, cases: Program(["node", CLIENT_JS], port, cases),
}


def outcomes(t, make, port, cases):
    """What each case came to by a client of this make."""
    client = t.keep(CLIENTS[make](port, cases))
    return {case: client.next() for case in cases}
