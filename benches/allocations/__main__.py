"""Allocations per request, one by one: `python3 benches/allocations [--weir BINARY] [--path NAME]`.

weir runs with one worker under gdb, which looks at every call of the allocator, and this process
plays its clients and its backend as `tests/budget` does, one step at a time: the same paths and one
with an upload. A path runs with N and with 2N requests; the difference, divided by N, is what one
request costs. What grows by doubling, or is made once per many requests, shows as a fraction.

Whose an allocation is: the innermost frame of weir, hyper, hyper-util or h2 asked for it, and what they
asked, http, bytes, tokio or Rust's library, is in the column `for`. Needs gdb.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "budget"))

import paths  # noqa: E402
import sut  # noqa: E402

# Who can be blamed for an allocation; the rest are libraries that they use.
ASKERS = ("weir", "hyper", "hyper-util", "h2")


class Uploaded(paths.Admitted):
    """Admitted at once, with a body, so not repeatable."""

    request = paths.REQUEST.replace(b"GET", b"POST").removesuffix(b"\r\n") + b"content-length: 5\r\n\r\nhello"


PATHS = paths.PATHS | {"uploaded": Uploaded}


class Watched(sut.Weir):
    """weir as it is, with gdb attached to it."""

    under = ()

    def __init__(self, binary, backend, settings, directory):
        super().__init__(binary, backend, settings, directory)
        log = self.directory / "allocations"
        ready = pathlib.Path(f"{log}.ready")
        ready.unlink(missing_ok=True)
        script = pathlib.Path(__file__).with_name("inside.py")
        command = ["gdb", "-q", "-nx", "-batch", "-p", str(self.process.pid), "-x", str(script)]
        with open(self.directory / "gdb-log", "wb") as output:
            self.gdb = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | {"ALLOCATIONS_LOG": str(log)},
            )
        deadline = time.monotonic() + 60
        while not ready.exists():
            sut.check(self.gdb.poll() is None and time.monotonic() < deadline, self.gdb_log())
            time.sleep(0.05)

    def gdb_log(self):
        return "gdb says:\n" + (self.directory / "gdb-log").read_text(errors="replace")[-4000:]

    def end(self):
        self.process.terminate()
        for process in (self.process, self.gdb):
            try:
                process.wait(sut.SECONDS_MAX)
            except subprocess.TimeoutExpired:
                raise sut.Failure(f"did not end: {process.args[0]}\n{self.gdb_log()}") from None
        text = (self.directory / "allocations").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def close(self):
        super().close()
        if self.gdb.poll() is None:
            self.gdb.kill()
            self.gdb.wait()


def calls(binary, path, requests, directory):
    with contextlib.ExitStack() as stack:
        backend = sut.Backend()
        stack.callback(backend.close)
        weir = Watched(binary, backend, path.settings, directory)
        stack.callback(weir.close)
        path.drive(weir, backend, requests)
        path.verify(weir.status(), requests)
        return weir.end()


class Frame:
    """One frame of a stack. Of inlined functions the debug information has only the last name, so
    the crate is told by the file."""

    def __init__(self, name, file, line):
        if found := re.search(r"/registry/src/[^/]+/([\w-]+?)-\d[^/]*/(.*)", file):
            self.crate, file = found.groups()
        elif found := re.match(r"/rustc/\w+/(.*)|/rust/(.*)", file):
            self.crate, file = "std", found[1] or found[2]
        else:
            self.crate, file = ("weir", "src/" + file.rpartition("/src/")[2]) if "/src/" in file else ("?", file)
        self.place = f"{file}:{line}"
        name = re.sub(r"\{(?:async_fn|closure|impl|async_block)[^{}]*\}", "", name)
        while (less := re.sub(r"<[^<>]*>", "", name)) != name:
            name = less
        self.name = next((part for part in reversed(name.split("::")) if part), "?")

    def __str__(self):
        return f"`{self.name}` {self.place}"


def key(call):
    """Who asked, where, and for what."""
    frames = [Frame(*frame) for frame in call["frames"]]
    # The first frames are the allocator's own interface.
    frames = [frame for frame in frames if not frame.place.startswith("src/main.rs") and frame.crate != "tikv-jemallocator"]
    asked = next((at for at, frame in enumerate(frames) if frame.crate in ASKERS), None)
    if asked is None:
        asked = next((at for at, frame in enumerate(frames) if frame.crate != "std"), 0)
    what = []
    for frame in frames[:asked]:
        if frame.crate != "std":
            what.append(f"{frame.crate} {frame}")
    standard = [frame for frame in frames[:asked] if frame.crate == "std"]
    what = what[-1] if what else f"std {standard[-1]}" if standard else ""
    return frames[asked].crate, str(frames[asked]), what, call["entry"]


def per_request(binary, path, requests, directory):
    """Calls and bytes of one request by `key`."""
    sums = collections.defaultdict(lambda: [0, 0])
    for count, sign in ((requests, -1), (2 * requests, 1)):
        for call in calls(binary, path, count, directory):
            one = sums[key(call)]
            one[0] += sign
            one[1] += sign * call["bytes"]
    return {key: (n / requests, size / requests) for key, (n, size) in sums.items() if n}


def table(name, rows):
    lines = [f"{name}: allocations per request", "", "| calls | bytes | whose | where | for | call |"]
    lines.append("|---:|---:|---|---|---|---|")
    owners = collections.Counter()
    order = sorted(rows, key=lambda key: ((*ASKERS, key[0]).index(key[0]), -rows[key][0]))
    for owner, where, what, entry in order:
        calls, size = rows[owner, where, what, entry]
        owners[owner] += calls
        lines.append(f"| {calls:.2f} | {size:.0f} | {owner} | {where} | {what} | {entry.removeprefix('_rjem_')} |")
    total = ", ".join(f"{owner} {calls:.2f}" for owner, calls in owners.most_common())
    return "\n".join([*lines, "", f"Together {sum(owners.values()):.2f}: {total}.", ""])


def main():
    parser = argparse.ArgumentParser(prog="benches/allocations", description=__doc__.partition("\n")[0])
    parser.add_argument("--weir", type=pathlib.Path, default=ROOT / "target" / "release" / "weir")
    parser.add_argument("--path", choices=PATHS, action="append", help="default: all")
    parser.add_argument("--requests", type=int, default=50, help="N, of N and 2N")
    parser.add_argument("--keep", type=pathlib.Path, help="a directory to leave the stacks in")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = options.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="weir-allocations-"))
        try:
            for name in options.path or PATHS:
                rows = per_request(options.weir, PATHS[name], options.requests, directory)
                print(table(name, rows), flush=True)
        except sut.Failure as failure:
            print(f"FAILED {failure}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
