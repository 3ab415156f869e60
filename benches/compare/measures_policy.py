"""Who is served while far more is asked than the backend can do: goodput, waits, tenants, a retry storm.

The clients have a deadline of their own and give up; the backend has a queue of its own and works
through it whoever is gone. Backend and proxy are started anew for every sample.
"""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys

import install
import lab
import load
import machine
import openloop
import peers
import peers_more
from bench import measurement

SLOTS, SERVICE_MS = 10, 50
CAPACITY = 1000 * SLOTS / SERVICE_MS
# When clients give up.
DEADLINE = 1.0
# What a client says who says how long it waits.
TOLD = "x-envoy-expected-rq-timeout-ms: 1000\r\n"
# The permit of a client that left stays while the backend is likely to go on with it.
HASTY = {"drain.cancel_grace": "0s"}
# A plain queue with a bound on the wait.
FIFO = {"queue.codel": "false", "queue.order": "fifo"}
TENANTS = {"tenant.headers": '["x-tenant"]'}
# Until queues are full, and everybody has measured what it decides by.
WARM_UP = 4
PROGRAM = pathlib.Path(__file__).resolve().parent / "slots.py"


class Backend:
    """The backend of one sample, a process that can be made to stand still."""

    def __init__(self, bench):
        command = [sys.executable, PROGRAM, SLOTS, SERVICE_MS]
        # What waits for the generator's core is no property of a gate.
        self.process = bench.lab.start(command, bench.lab.load_cores, stdout=subprocess.PIPE, realtime=True)
        word = self.process.stdout.readline().decode().strip()
        if not word.isdigit():
            raise lab.Untrusted(f"the backend did not start: {lab.last_words(self.process)}")
        self.port = int(word)

    def stall(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def close(self):
        if self.process.poll() is None:
            self.resume()
        lab.end(self.process)


class Tuned(peers.Weir):
    """weir with some settings more."""

    def __init__(self, peer, settings):
        super().__init__(peer.binary, peer.name)
        self.settings = settings

    def command(self, bench, job, ports):
        pairs = [f"{key}={value}" for key, value in self.settings.items()]
        return [*super().command(bench, job, ports), *(word for pair in pairs for word in ("--set", pair))]


class Adaptive(peers_more.Envoy):
    """Envoy that finds out itself how much is too much, as its documentation sets the filter up."""

    def command(self, bench, job, ports):
        command = super().command(bench, dataclasses.replace(job, permits=1_000_000), ports)
        config = json.loads(command[2].read_text())
        [listener] = config["static_resources"]["listeners"]
        filters = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
        controller = {
            "sample_aggregate_percentile": {"value": 90},
            "concurrency_limit_params": {"concurrency_update_interval": "0.1s"},
            "min_rtt_calc_params": {"jitter": {"value": 10}, "interval": "60s", "request_count": 50},
        }
        name = "filters.http.adaptive_concurrency.v3.AdaptiveConcurrency"
        typed = peers_more.typed(name, gradient_controller_config=controller, enabled={"default_value": True})
        filters.insert(0, {"name": "adaptive", "typed_config": typed})
        command[2].write_text(json.dumps(config))
        return command


@dataclasses.dataclass(frozen=True)
class System:
    """One row: what stands before the backend, and what its clients send in addition."""

    peer: peers.Peer | None
    fields: tuple = ("",)  # by try, the last for all further ones


def systems(bench, settings=None, direct=True, fifo=False, told=(), told_as="told"):
    """All rows of a table: every weir in several ways, its peers, and no gate at all."""
    settings, rows = settings or {}, {}
    for weir in bench.weirs:
        rows[weir.name] = System(Tuned(weir, settings))
        if told:
            rows[f"{weir.name}, {told_as}"] = System(rows[weir.name].peer, told)
        for name, more in {"hasty": HASTY, "fifo": FIFO}.items():
            if (name != "fifo" or fifo) and knows(weir.binary, more):
                rows[f"{weir.name} {name}"] = System(Tuned(weir, settings | more))
    rows |= {peer.name: System(peer) for peer in bench.haproxies}
    for peer in bench.others:
        if isinstance(peer, peers_more.Envoy):
            rows |= {peer.name: System(peer), f"{peer.name}-adaptive": System(Adaptive(peer.binary))}
    if direct:
        rows["no gate"] = System(None)
    return rows


def knows(binary, settings):
    """Whether this weir has these keys; one that is compared with may be older."""
    pairs = {"memory.target_memory": "1Gi", "memory.memory_per_task": "1Mi"} | settings
    words = (word for key, value in pairs.items() for word in ("--set", f"{key}={value}"))
    return bool(install.output(binary, "check", *words))


def notes(*more):
    """How the rows were set up, under every table."""
    weir = (
        f"weir: default config, {SLOTS} permits; hasty: drain.cancel_grace = 0s; "
        "fifo: queue.order = fifo and queue.codel = false"
    )
    return [
        *more,
        f"backend: {SLOTS} slots of {SERVICE_MS} ms, {CAPACITY:.0f} requests/s; it works through all it gets, oldest "
        "first, clients gone or not; started anew for every sample, as is the proxy",
        f"open loop, Poisson arrivals fixed beforehand and the same for all rows; p99 of sending late is at most "
        f"{openloop.LATE_P99_MS} ms; times count from when a request should have been sent",
        "busy: how much of its core the proxy used (no gate: the backend)",
        f"{weir}; haproxy: maxconn {SLOTS}, timeout queue 1s, abortonclose; envoy: max_connections {SLOTS}, "
        f"max_pending_requests {CAPACITY:.0f}; envoy-adaptive: the adaptive concurrency filter, nothing else",
    ]


def capacity(bench):
    """What as many clients as there are slots get straight from the backend in a closed loop."""
    with contextlib.closing(Backend(bench)) as backend:
        return load.h2load(bench, f"http://127.0.0.1:{backend.port}/", 1000, connections=SLOTS)


def run(bench, system, times, seconds, patience, keys=("",), tries=1, events=lambda backend: ()):
    """One load on one system: its requests, how late they were sent, and how busy that kept the proxy."""
    with contextlib.ExitStack() as stack:
        backend = Backend(bench)
        stack.callback(backend.close)
        port = backend.port
        if system.peer:
            job = peers.Job(port, permits=SLOTS, pending=int(CAPACITY), abort_on_close=True)
            proxy = system.peer.start(bench, job)
            stack.callback(proxy.stop)
            port = proxy.port
        heads = [
            [f"GET / HTTP/1.1\r\nhost: weir.test\r\n{key}{field}\r\n".encode() for field in system.fields]
            for key in keys
        ]
        clients = openloop.OpenLoop(port, times, heads, patience, tries)
        watched = proxy.pid if system.peer else backend.process.pid
        with machine.Watch(watched, bench.lab.proxy_cores) as watch:
            requests = clients.run(seconds, events(backend))
        busy = 100 * (watch.user + watch.system) / watch.seconds
        return requests, {"late p99 ms": clients.late_p99_ms, "busy %": busy}


def figures(requests, around, begin, end, full=CAPACITY):
    """What became of the requests whose end was within these seconds."""
    inside = [request for request in requests if request.done and begin <= request.done < end]
    served = sorted(request.millis for request in inside if request.status == 200)
    refused = sorted(request.millis for request in inside if request.status not in (200, openloop.GAVE_UP))
    span = end - begin
    good = collections.Counter(int(request.done) for request in requests if request.status == 200)
    print("    200s by second: " + " ".join(str(good[second]) for second in range(int(end))), flush=True)
    out = {"goodput": 100 * len(served) / span / full, "served/s": len(served) / span}
    for name, values in (("served", served), ("refused", refused)):
        if values:
            out |= {f"{name} p{percent} ms": load.percentile(values, percent) for percent in (50, 99)}
    gave_up = sum(request.status == openloop.GAVE_UP for request in inside)
    broken = sum(request.status == openloop.BROKEN for request in inside)
    if broken > max(5, len(inside) // 100):
        raise lab.Untrusted(f"{broken} of {len(inside)} connections were closed without an answer")
    return out | {"refused/s": len(refused) / span, "gave up/s": gave_up / span} | around


@measurement("policy-goodput", "Goodput within the clients' deadline")
def goodput(bench):
    """Clients that wait a second and close the connection then, at twice and ten times the capacity."""
    seconds = WARM_UP + bench.count(10, 5)
    full = capacity(bench)
    for factor in (2, 10):
        about = notes(
            f"{factor * CAPACITY:.0f} requests/s for {seconds} s, the first {WARM_UP} not counted; a client closes its "
            f"connection after {DEADLINE:g} s; goodput: answered with 200 by then, of the capacity; goal "
            f"{'99' if factor == 2 else '97'} %",
            f"capacity: {full:.1f} requests/s, which {SLOTS} clients get straight from the backend in a closed loop",
            f"told: the same clients say `{TOLD.strip()}`, which of these only weir goes by",
        )
        title = f"Goodput within a deadline of {DEADLINE:g} s at {factor} times the capacity"
        table = bench.table("% of capacity", "goodput", about, title=title, timed=True)
        times = openloop.plan(factor * CAPACITY, seconds, seed=factor)

        def sample(system, times=times):
            return figures(*run(bench, system, times, seconds, DEADLINE), WARM_UP, seconds, full)

        bench.rounds(table, systems(bench, fifo=True, told=(TOLD,)), sample)


@measurement("policy-wait", "What admitted requests take at ten times the capacity")
def wait(bench):
    """Clients that wait as long as it takes."""
    seconds = WARM_UP + bench.count(8, 4)
    calm = openloop.plan(CAPACITY / 5, 4, seed=1)
    quiet, _ = run(bench, System(None), calm, 5, 10)
    alone = sorted(request.millis for request in quiet if request.status == 200)
    p50, p99 = (load.percentile(alone, percent) for percent in (50, 99))
    goal = p99 + max(2 * max(5, p50 / 10), p50) + 5
    about = notes(
        f"{10 * CAPACITY:.0f} requests/s for {seconds} s, the first {WARM_UP} not counted; nobody gives up",
        f"goal for p99: {goal:.0f} ms = service p99 + max(2 CoDel targets, service p50) + 5 ms; the service takes "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms at a fifth of the capacity, straight from the backend",
    )
    table = bench.table("ms", "served p99 ms", about, timed=True)
    times = openloop.plan(10 * CAPACITY, seconds, seed=3)

    def sample(system):
        found = figures(*run(bench, system, times, seconds, patience=10), WARM_UP, seconds)
        return found | {"of goal %": 100 * found.get("served p99 ms", float("inf")) / goal}

    bench.rounds(table, systems(bench, direct=False), sample)


@measurement("policy-tenants", "One tenant of ten sends 90 %")
def tenants(bench):
    """At three times the capacity nine want less than their share, at ten times all want more."""
    seconds = WARM_UP + bench.count(10, 5)
    weights = [(81, 0)] + [(1, tenant) for tenant in range(1, 10)]
    keys = [f"x-tenant: t{tenant}\r\n" for tenant in range(10)]
    for factor in (3, 10):
        rate = factor * CAPACITY
        about = notes(
            f"{rate:.0f} requests/s for {seconds} s, the first {WARM_UP} not counted; 90 % from one tenant, the rest "
            "from nine; clients give up after 5 s; weir: tenant.headers = [x-tenant]",
            "Jain: Jain's index of what each tenant got over its max-min fair share of what was served; goal 0.95",
            "light served: of what the nine sent, the share answered with 200"
            + ("; goal 99 %" if factor == 3 else "; nobody could serve all of it"),
        )
        title = f"One tenant of ten sends 90 % of {factor} times the capacity"
        table = bench.table("", "Jain", about, title=title, timed=True)
        times = openloop.plan(rate, seconds, seed=40 + factor, keys=weights)

        def sample(system, times=times):
            requests, around = run(bench, system, times, seconds, 5, keys)
            return fairness(requests, seconds) | figures(requests, around, WARM_UP, seconds)

        bench.rounds(table, systems(bench, TENANTS), sample)


def fairness(requests, seconds):
    """How evenly the tenants were served, and what the light ones got."""
    # By when they were sent, and early enough that the answer is known.
    inside = [request for request in requests if WARM_UP <= request.at < seconds - 1.5]
    sent, got = [0] * 10, [0] * 10
    for request in inside:
        sent[request.key] += 1
        got[request.key] += request.status == 200
    shares = fair(sum(got), sent)
    parts = [own / share for own, share in zip(got, shares) if share]
    jain = sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts)) if any(parts) else 0.0
    light = 100 * sum(got[1:]) / sum(sent[1:])
    return {"Jain": jain, "light served %": light, "heavy served %": 100 * got[0] / sent[0]}


def fair(total, wanted):
    """Max-min: nobody gets more than wanted, and what that leaves is shared evenly by the others."""
    shares, left = [0.0] * len(wanted), len(wanted)
    for index in sorted(range(len(wanted)), key=lambda index: wanted[index]):
        shares[index] = min(wanted[index], total / left)
        total, left = total - shares[index], left - 1
    return shares


LAST = "10 s and later %"


@measurement("policy-storm", "A retry storm: the backend stands still for 30 s")
def storm(bench):
    """Three tries each at 0.8 of the capacity; how long until all is well again when the backend goes on."""
    before, outage, after = 5, bench.count(30, 8), bench.count(18, 15)
    back, seconds = before + outage, before + outage + after
    rate = 0.8 * CAPACITY
    about = notes(
        f"{rate:.0f} requests/s throughout; each is tried 3 times, {DEADLINE:g} s each, with pauses of 100 and 200 ms, "
        f"give or take half; after {before} s the backend is stopped (SIGSTOP) for {outage} s, then goes on",
        "recovery s: from when the backend goes on until, for 3 seconds on end, at least 90 % of the requests first "
        "sent in each were answered in time by some try; goal 10 s; without it, it did not recover while watched",
        "0 to 5 s % and so on: that share, by seconds since the backend goes on",
        "attempts told: retries say `x-retry-attempt`",
    )
    table = bench.table("%", LAST, about, timed=True)
    times = openloop.plan(rate, seconds, seed=5)

    def sample(system):
        def events(backend):
            return (before, backend.stall), (back, backend.resume)

        requests, around = run(bench, system, times, seconds, DEADLINE, tries=3, events=events)
        return recovery(requests, back, seconds) | around

    told = ("", *(f"x-retry-attempt: {number}\r\n" for number in (1, 2)))
    bench.rounds(table, systems(bench, fifo=True, told=told, told_as="attempts told"), sample)


def recovery(requests, back, seconds):
    """By second of the first try: what was answered in time since the backend goes on."""
    # The last ones may still be at their tries.
    count = int(seconds - back - 3)
    sent, good, tries = [0] * count, [0] * count, [0] * count
    for request in requests:
        second = int(request.at - back)
        if request.at >= back and second < count:
            sent[second] += 1
            good[second] += request.status == 200
            tries[second] += request.tries
    shares = [100 * ours / max(1, all_) for ours, all_ in zip(good, sent)]
    print("    by second: " + " ".join(f"{share:.0f}" for share in shares), flush=True)
    well = (second for second in range(count - 2) if min(shares[second : second + 3]) >= 90)
    first = next(well, None)
    out = {} if first is None else {"recovery s": float(first)}
    for name, part in ({"0 to 5 s %": shares[:5], "5 to 10 s %": shares[5:10], LAST: shares[10:]}).items():
        out[name] = sum(part) / len(part)
    return out | {"tries per request": sum(tries) / max(1, sum(sent))}
