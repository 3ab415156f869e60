"""The load generators as calls, their reports as values that were checked.

Owns h2load and wrk. A call returns only if every request was answered, and as it should be.
"""

import math
import re
import socket

import lab


def h2load(bench, url, requests, connections=32, streams=1, h1=True, want="2xx", within=150, more=()):
    """Exactly so many requests, all answered with that class of status; returns requests/s."""
    command = ["h2load", "-t", 1, "-n", requests, "-c", connections, "-m", streams]
    command += ["--h1"] if h1 else []
    report = bench.lab.run([*command, *more, url], within)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", report)
    ended = re.search(r"(\d+) done, \d+ succeeded, \d+ failed, (\d+) errored, (\d+) timeout", report)
    rate = re.search(r"finished in [^,]+, ([\d.]+) req/s", report)
    if not (codes and ended and rate):
        raise lab.Untrusted(f"h2load says nothing that is understood: {report[-300:]}")
    counts = dict(zip(("2xx", "3xx", "4xx", "5xx"), map(int, codes.groups())))
    done, errored, timeouts = map(int, ended.groups())
    if not (done == counts[want] == requests and errored == timeouts == 0):
        raise lab.Untrusted(
            f"of {requests} requests, all of which should get {want}, h2load saw {codes.group(0)}, "
            f"{done} done, {errored} errored, {timeouts} timed out"
        )
    return float(rate.group(1))


def stagger(clients, period):
    """Whole milliseconds between the starts of two clients, so that they fire evenly over their period."""

    def largest_gap(wait):
        phases = sorted(number * wait % period for number in range(clients))
        return max(b - a for a, b in zip(phases, [*phases[1:], phases[0] + period]))

    return min(range(1, 31), key=lambda wait: (round(largest_gap(wait), 3), wait))


def logged(bench, url, seconds, clients, rate, streams=1, h1=True):
    """Requests at a fixed rate, whatever becomes of them.

    Returns (start in s, status, ms) of each, and between which times all clients were sending.
    """
    log = bench.lab.path("h2load.log")
    requests = int(rate * seconds)
    # Each client has a rate of its own. They start one after another, or all would fire at once.
    wait = stagger(clients, 1000 * clients / rate)
    command = ["h2load", "-t", 1, "-n", requests, "-c", clients, "-m", streams]
    command += ["-r", 1, f"--rate-period={wait}ms"]
    command += [f"--rps={rate / clients:.6f}", f"--log-file={log}"]
    command += ["--h1"] if h1 else []
    bench.lab.run([*command, url], seconds + 60)
    rows = []
    for line in log.read_text().splitlines():
        start, status, micros = line.split("\t")[:3]
        rows.append((int(start) / 1e6, int(status), int(micros) / 1e3))
    log.unlink()
    if len(rows) != requests:
        raise lab.Untrusted(f"h2load logged {len(rows)} of {requests} requests")
    rows.sort()
    first, last = rows[0][0], rows[-1][0]
    # The last client starts so much later than the first, and the first ends so much earlier.
    slope = clients * wait / 1000
    rows = [(start - first, status, millis) for start, status, millis in rows]
    steady = slope, last - first - slope
    sent = sum(steady[0] <= row[0] <= steady[1] for row in rows) / max(1e-9, steady[1] - steady[0])
    if abs(sent / rate - 1) > 0.03:
        raise lab.Untrusted(f"the load generator sent {sent:.0f} requests/s instead of {rate:.0f}")
    return rows, steady


def only(rows, statuses):
    """Every answer had one of these statuses."""
    other = [status for _, status, _ in rows if status not in statuses]
    if other:
        raise lab.Untrusted(f"{len(other)} of {len(rows)} requests ended with {sorted(set(other))}")


def percentile(values, percent):
    """The smallest value that so many percent do not exceed; the values are sorted."""
    return values[max(0, math.ceil(len(values) * percent / 100) - 1)]


def wrk(bench, url, seconds, connections):
    """Requests that wrk got answered with 2xx in so many seconds, as many as it could; and their rate."""
    command = ["wrk", "-t", 1, "-c", connections, "-d", f"{seconds}s", "--timeout", "10s", url]
    report = bench.lab.run(command, seconds + 30)
    count = re.search(r"(\d+) requests in", report)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    if "Socket errors" in report or "Non-2xx" in report or not (count and rate):
        raise lab.Untrusted(f"wrk saw errors: {report[-400:]}")
    return int(count.group(1)), float(rate.group(1))


def probe(port, path, status, length=None):
    """Two GETs on one connection: it must be kept, and both answers must be what they should be."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        for _ in range(2):
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode())
            head, body = answer(connection)
            if not head.startswith(f"HTTP/1.1 {status} "):
                raise lab.Untrusted(f"a probe was answered with {head.splitlines()[:1]}, not {status}")
            if length is not None and body != length:
                raise lab.Untrusted(f"a probe got {body} bytes of {length}")


def head_of(connection):
    """The head of one response, and what came of its body with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise lab.Untrusted("a connection was closed before a response's head was whole")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


def answer(connection):
    """One response: its head, and how long its body is."""
    head, body = head_of(connection)
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    got, length = len(body), int(fields.get(b"content-length", -1))
    if length < 0:
        # Chunked: all that is needed is its end.
        while not body.endswith(b"0\r\n\r\n"):
            more = connection.recv(65536)
            if not more:
                raise lab.Untrusted("a chunked answer was broken off")
            body += more
        return head.decode("latin-1"), None
    while got < length:
        more = connection.recv(1 << 20)
        if not more:
            raise lab.Untrusted(f"an answer of {length} bytes was broken off after {got}")
        got += len(more)
    return head.decode("latin-1"), got
