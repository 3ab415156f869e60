"""What the kernel says: CPU and memory of a process, what others take of the cores, what machine this is.

Owns every read of /proc.
"""

import functools
import os
import pathlib
import platform
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@functools.cache
def cores():
    """The core of the proxy, and those of everything else: load generator, backend, this program.

    Decided once: this program soon confines itself to the latter.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise SystemExit("needs two cores: one for the proxy, one for load and backend")
    return {allowed[0]}, set(allowed[1:])


def cpu(pid):
    """User and system seconds of all threads of a process so far."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    # The command's name, in parentheses, may hold anything; the fields after it are plain.
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) / TICKS_PER_SECOND, int(fields[12]) / TICKS_PER_SECOND


def children(pid):
    """The processes that a process has started."""
    text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def memory(pid):
    """kB by name: VmRSS, VmHWM, RssAnon and the like."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = (line.split(":", 1) for line in lines if line.endswith("kB"))
    return {name: int(value.split()[0]) for name, value in pairs}


def core_times(chosen):
    """Ticks of some cores since boot: all, stolen by the host, and spent in programs."""
    every = stolen = spent = 0
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu" and int(name[3:]) in chosen:
            # Guest time, the last two fields, is part of user time already.
            ticks = [int(field) for field in fields[:8]]
            every += sum(ticks)
            stolen += ticks[7]
            spent += sum(ticks[:3])
    return every, stolen, spent


class Surroundings:
    """What others did to the cores while the block ran: the host, and programs that are not ours."""

    def __init__(self, watched, own):
        # `own` tells the CPU seconds of all that is ours, whether it still runs or not.
        self.watched, self.own = watched, own

    def __enter__(self):
        self.times, self.ours = core_times(self.watched), self.own()
        return self

    def __exit__(self, *_):
        every, stolen, spent = (now - then for now, then in zip(core_times(self.watched), self.times))
        ours = TICKS_PER_SECOND * (self.own() - self.ours)
        self.steal_percent = 100 * stolen / max(1, every)
        # Ticks are coarse, and kernel threads are nobody's: a little is always left.
        self.others_percent = max(0, 100 * (spent - ours) / max(1, every))


class Watch:
    """What a process and its cores did while the block ran."""

    def __init__(self, pid, watched):
        self.pid, self.watched = pid, watched

    def __enter__(self):
        self.begun, self.cpu = time.monotonic(), cpu(self.pid)
        return self

    def __exit__(self, *_):
        user, system = cpu(self.pid)
        self.user, self.system = user - self.cpu[0], system - self.cpu[1]
        self.seconds = time.monotonic() - self.begun

    def per_request(self, requests):
        """A sample: µs of CPU per request, all, user and system, and how busy that kept the core."""
        user, system = (1e6 * seconds / requests for seconds in (self.user, self.system))
        busy = 100 * (self.user + self.system) / (self.seconds * len(self.watched))
        return {"total": user + system, "user": user, "system": system, "busy %": busy}


def facts():
    """What this machine is, for the report."""
    model = ""
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    total = next(
        line.split()[1]
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    )
    proxy, load = cores()
    return {
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": model,
        "cores": len(proxy | load),
        "memory_mib": int(total) // 1024,
        "load_average": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "python": platform.python_version(),
    }
