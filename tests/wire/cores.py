"""Which core runs what: where an attacker, an honest client and a proxy would take the machine from
each other, the proxy gets a core of its own, and all else another."""

import os


def pair():
    """The core of all else, and the proxy's; the same where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


def pin(process, core):
    """A running process, with all its threads."""
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        os.sched_setaffinity(int(thread), {core})


def pin_me(nice=0):
    """This thread, and what it starts, to the core of all else; `nice` gives way to the others there."""
    os.sched_setaffinity(0, {pair()[0]})
    if nice:
        os.setpriority(os.PRIO_PROCESS, 0, nice)


def seconds(pid):
    """The processor time that a process has taken."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
