"""What a proxy adds to the time of a request, at a rate that leaves it half idle."""

import contextlib
import statistics

import backends
import lab
import load
import peers
from bench import measurement

CLIENTS = 32
PERCENTS = (50, 99, 99.9)
# Of the rate of a closed loop, where requests come in batches, which are cheaper.
SHARES = (1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)


class Direct:
    """No proxy at all: what the same clients see of the backend itself."""

    name = "direct"

    def __init__(self, port):
        self.port = port

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"


@measurement("latency", "Latency at half of HAProxy's rate, h1, kept connections, 1 KiB")
def latency(bench):
    """An open loop: requests leave on time, whatever becomes of those before them."""
    table = bench.table("µs", "p99", timed=True)
    port = backends.nginx(bench, backends.files(bench, {"f": 1 << 10}), realtime=True)
    priority = "at" if bench.lab.realtime else "WITHOUT"
    running = bench.start(bench.peers, peers.Job(port), table, lambda proxy: load.probe(proxy.port, "/f", 200))
    for proxy in running:
        load.h2load(bench, proxy.url("/f"), 2000)
    rate, how = chosen_rate(bench, running)
    seconds = bench.count(8, 3)
    table.notes += [
        f"{rate:,.0f} requests/s, {how}; {seconds} s each",
        f"h2load --h1 -c {CLIENTS} with --rps and --log-file, clients spread over their period; ramps not counted; "
        "the rate was kept and all answers were 200",
        "added: less the same percentile of going direct in the same round",
        "h2load waits in whole milliseconds, so some requests leave together; it shares a core with the backend",
        f"the backend runs {priority} real-time priority: what it waits for that core is no property of a proxy",
    ]
    bench.rounds(
        table, [Direct(port), *running], lambda proxy: percentiles(bench, proxy.url("/f"), rate, seconds)
    )
    direct = table.rows.get(Direct.name, {})
    for row, samples in table.rows.items():
        for number, found in samples.items():
            if row != Direct.name and number in direct:
                names = (f"p{percent:g}" for percent in PERCENTS)
                found |= {f"added {name}": found[name] - direct[number][name] for name in names}


def chosen_rate(bench, running):
    """Half of the highest rate that HAProxy keeps up with in an open loop, looked for from above."""
    if bench.options.rate:
        return bench.options.rate, "as asked for"
    haproxy = next((proxy for proxy in running if proxy.name == bench.haproxies[0].name), None)
    if not haproxy:
        raise lab.Untrusted("the rate is taken from HAProxy, which does not run")
    tries = [load.h2load(bench, haproxy.url("/f"), bench.count(30_000)) for _ in range(3)]
    closed = statistics.median(tries)
    for share in SHARES:
        with contextlib.suppress(lab.Untrusted):
            percentiles(bench, haproxy.url("/f"), closed * share, 2)
            return closed * share / 2, f"half of the {closed * share:,.0f} that HAProxy kept up with"
    raise lab.Untrusted(f"not even {SHARES[-1]:.0%} of {closed:.0f} requests/s were kept up through HAProxy")


def percentiles(bench, url, rate, seconds):
    """Percentiles in µs; the rate must have been kept, and every answer have been a 200."""
    rows, (begin, end) = load.logged(bench, url, seconds, CLIENTS, rate)
    load.only(rows, {200})
    times = sorted(1000 * millis for start, _, millis in rows if begin <= start <= end)
    return {f"p{percent:g}": load.percentile(times, percent) for percent in PERCENTS}
