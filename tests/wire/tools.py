"""curl, wrk and h2load as calls, their reports as values."""

import re
import subprocess
import tempfile

from backends import field
from harness import Failure, check, equal

# Fields that speak of the connection or the moment, not of the answer.
NOT_COMPARED = {"date", "connection", "keep-alive", "transfer-encoding", "via"}


def run(command, within, stdin=None):
    try:
        return subprocess.run(command, input=stdin, capture_output=True, timeout=within, check=False)
    except subprocess.TimeoutExpired:
        raise Failure(f"{command[0]} did not end within {within} s") from None


class Answer:
    """What one curl transfer brought."""

    def __init__(self, code, dump, body, written):
        self.code, self.body = code, body
        self.status, self.version, self.connects = 0, "", 0
        if written:
            status, self.version, connects = written.split(" ")
            self.status, self.connects = int(status), int(connects)
        # The last head, and after it trailers, if there are any.
        lines = dump.decode("latin-1").split("\r\n")
        start = max((i for i, line in enumerate(lines) if line.startswith("HTTP/")), default=0)
        pairs = [line.split(":", 1) for line in lines[start + 1 :] if ":" in line]
        self.fields = [(name.lower(), value.strip()) for name, value in pairs]

    def field(self, name):
        return field(self.fields, name)

    def comparable(self):
        fields = sorted((n, v) for n, v in self.fields if n not in NOT_COMPARED)
        return self.code, self.status, fields, self.body

    def __repr__(self):
        return f"curl {self.code}: {self.status} {self.fields} {self.body[:80]!r}"


def curl(url, *arguments, h2=False, stdin=None):
    """One transfer; the exit code is part of the answer."""
    with tempfile.NamedTemporaryFile() as dump, tempfile.NamedTemporaryFile() as body:
        command = ["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "15", "--path-as-is"]
        command += ["--http2-prior-knowledge"] if h2 else ["--http1.1"]
        command += ["-D", dump.name, "-o", body.name]
        command += ["-w", "%{http_code} %{http_version} %{num_connects}", *arguments, url]
        done = run(command, 20, stdin)
        # With --head curl writes the head as the body, too.
        content = b"" if "--head" in arguments else body.read()
        return Answer(done.returncode, dump.read(), content, done.stdout.decode())


def same(through, direct, *arguments, h2=False, direct_h2=False, stdin=None):
    """Asks both and compares status, fields, body and curl's exit code; returns weir's."""
    ours = curl(through, *arguments, h2=h2, stdin=stdin)
    theirs = curl(direct, *arguments, h2=direct_h2, stdin=stdin)
    check(theirs.code == 0, f"going direct failed: {theirs}")
    equal(ours.comparable(), theirs.comparable(), f"{' '.join(arguments)} {through} against direct")
    equal(ours.version, "2" if h2 else "1.1", "HTTP version")
    return ours


def wrk(url, seconds=3, connections=32):
    """How many requests wrk made; anything but 2xx on all of them is a failure."""
    command = ["wrk", "-t", "2", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "10s", url]
    report = run(command, seconds + 15).stdout.decode()
    check("Socket errors" not in report and "Non-2xx" not in report, f"wrk saw errors:\n{report}")
    count = re.search(r"(\d+) requests in", report)
    check(count and int(count.group(1)) > 0, f"wrk made no requests:\n{report}")
    return int(count.group(1))


def h2load(url, requests=2000, connections=4, streams=50):
    """All requests of h2load succeeded with 2xx, or it is a failure."""
    command = ["h2load", "-n", str(requests), "-c", str(connections), "-m", str(streams), url]
    done = run(command, 25)
    report = done.stdout.decode()
    want = (
        rf"{requests} total, {requests} started, {requests} done, {requests} succeeded, "
        r"0 failed, 0 errored, 0 timeout"
    )
    check(re.search(want, report), f"h2load saw failures:\n{report}\n{done.stderr.decode()[-500:]}")
    check(f"status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx" in report, f"not all 2xx:\n{report}")
