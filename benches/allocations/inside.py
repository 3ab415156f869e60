"""Runs inside gdb, attached to weir: writes one line of JSON for every call of the allocator by a
worker, with the frames that led to it, inlined ones too. Frees are not counted: each belongs to an
allocation."""

import json
import os

import gdb

# What Rust's allocator interface becomes with jemalloc: alloc, alloc_zeroed, realloc, and the same
# for what is aligned more strictly.
ENTRIES = ("_rjem_malloc", "_rjem_calloc", "_rjem_realloc", "_rjem_mallocx", "_rjem_rallocx")
FRAMES_MAX = 64


class Entry(gdb.Breakpoint):
    """Stops for no longer than it takes to look."""

    def __init__(self, name, log):
        super().__init__(name, internal=True)
        self.silent = True
        self.name = name
        self.log = log

    def stop(self):
        if (gdb.selected_thread().name or "").startswith("weir-worker"):
            self.log.write(json.dumps({"entry": self.name, "bytes": self.size(), "frames": frames()}) + "\n")
        return False

    def size(self):
        """The arguments of the C calls, by the platform's calling convention."""
        first, second = (int(gdb.parse_and_eval(register)) for register in REGISTERS)
        if self.name == "_rjem_calloc":
            return first * second
        return second if self.name in ("_rjem_realloc", "_rjem_rallocx") else first


def frames():
    found = []
    frame = gdb.newest_frame().older()
    while frame is not None and len(found) < FRAMES_MAX:
        place = frame.find_sal()
        file = place.symtab.fullname() if place.symtab else ""
        found.append((frame.name() or "?", file, place.line))
        frame = frame.older()
    return found


REGISTERS = ("$rdi", "$rsi") if "x86-64" in gdb.selected_inferior().architecture().name() else ("$x0", "$x1")

for command in ("set pagination off", "set confirm off", "handle SIGTERM nostop noprint pass"):
    gdb.execute(command)
with open(os.environ["ALLOCATIONS_LOG"], "w") as log:
    entries = [Entry(name, log) for name in ENTRIES]
    open(os.environ["ALLOCATIONS_LOG"] + ".ready", "w").close()
    gdb.execute("continue")
