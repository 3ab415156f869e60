"""What a proxy adds to the time of a request, at a rate that leaves it half idle."""

import backends
import load
import machine
import peers
from bench import measurement

CLIENTS = 32
PERCENTS = (50, 99, 99.9)


class Direct:
    """No proxy at all: what the same clients see of the backend itself."""

    name = "direct"

    def __init__(self, port):
        self.port = port

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"


@measurement("latency", "Added latency at half of HAProxy's rate, h1, kept connections, 1 KiB")
def latency(bench):
    """An open loop: requests leave on time, whatever becomes of those before them."""
    notes = []
    table = bench.table("µs", "added p99", notes)
    port = backends.nginx(bench, backends.files(bench, {"f": 1 << 10}), realtime=True)
    running = bench.start(bench.peers, peers.Job(port), table)
    haproxy = next(proxy for proxy in running if proxy.name == bench.haproxies[0].name)
    for proxy in running:
        load.h2load(bench, proxy.url("/f"), 2000)
    rate = load.h2load(bench, haproxy.url("/f"), bench.count(50_000)) / 2
    seconds = bench.count(8, 3)
    notes += [
        f"{rate:,.0f} requests/s, half of what h2load got through HAProxy in a closed loop; {seconds} s each",
        f"h2load --h1 -c {CLIENTS} with --rps and --log-file, clients spread over their period; ramps not counted",
        "added: less the same percentile of going direct in the same round; all answers were 200",
        "h2load waits in whole milliseconds, so some requests leave together; it shares a core with the backend",
        f"the backend runs {'at' if bench.lab.realtime else 'WITHOUT'} real-time priority: what it waits for "
        "that core is no property of a proxy",
    ]
    direct = {}

    def sample(proxy):
        found, steal = percentiles(bench, proxy.url("/f"), rate, seconds)
        if proxy.name == "direct":
            direct.clear()
            direct.update(found)
        # Nothing is added to itself.
        added = {f"added {name}": value - direct[name] for name, value in found.items() if direct}
        return added | found | {"steal %": steal}

    bench.rounds(table, [Direct(port), *running], sample)


def percentiles(bench, url, rate, seconds):
    """Percentiles in µs; the rate must have been kept, and every answer have been a 200."""
    every, stolen = machine.core_times(bench.lab.proxy_cores | bench.lab.load_cores)
    rows, (begin, end) = load.logged(bench, url, seconds, CLIENTS, rate)
    every_now, stolen_now = machine.core_times(bench.lab.proxy_cores | bench.lab.load_cores)
    load.only(rows, {200})
    times = sorted(1000 * millis for start, _, millis in rows if begin <= start <= end)
    found = {f"p{percent:g}": load.percentile(times, percent) for percent in PERCENTS}
    return found, 100 * (stolen_now - stolen) / (every_now - every)
