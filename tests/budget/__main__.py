"""Instructions per request against a stored budget: `python3 tests/budget [--weir BINARY] [--accept]`.

weir runs under callgrind with one worker, and this process plays its clients and its backend, one
step at a time: the next byte is sent when every thread of weir sleeps, so each request takes the
same way through the code. Each path runs with N and with 2N requests; the difference, divided by N,
is what one request costs, and starting and stopping cancel out. Only the worker's thread is counted: what
the others do depends on the clock.

`budget.json` holds the figures and the toolchain they were counted with. More than 3 % above fails,
and so does more than 3 % below: the better figure is to be stored, or it is lost unseen. Another
toolchain makes other code, so then nothing is compared: `SKIPPED`. The last line is
`budget: N passed, N failed, N skipped`.
"""

import argparse
import json
import math
import pathlib
import platform
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True

import paths  # noqa: E402
import sut  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
STORED = ROOT / "tests" / "budget" / "budget.json"
TOLERANCE = 0.03
ACCEPT = "cargo build --release && python3 tests/budget --accept"


def toolchain():
    """What decides, besides weir's own source, which instructions a request takes."""
    rustc = subprocess.run(["rustc", "--version"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {
        "rustc": rustc.stdout.strip(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
    }


def measure(weir, requests, directory, budget):
    """Instructions per request of every path, rounded.

    While a request waits, weir looks for its client some times a second, so that a busy machine adds
    to the figure and never takes from it: what is over its budget is measured once more, and the
    smaller figure counts."""
    figures = {}
    for name, path in paths.PATHS.items():
        figures[name] = per_request(weir, path, requests, directory)
        if figures[name] > budget.get(name, math.inf) * (1 + TOLERANCE):
            figures[name] = min(figures[name], per_request(weir, path, requests, directory))
        print(f"{name}: {figures[name]} instructions per request", flush=True)
    return figures


def per_request(weir, path, requests, directory):
    """What one more request costs."""
    once, twice = (sut.instructions(weir, path, count, directory) for count in (requests, 2 * requests))
    return round((twice - once) / requests)


def verdict(name, got, want):
    """None if the figure is within the tolerance, else what is wrong and what to do."""
    change = got / want - 1
    numbers = f"{name}: {got} instructions per request, {change:+.1%} of the budget of {want}"
    if change > TOLERANCE:
        return f"{numbers}: too many. If they are worth it, accept them: {ACCEPT}"
    if change < -TOLERANCE:
        return f"{numbers}: better. Store it, so that it is not lost again: {ACCEPT}"
    return None


def compare(figures, budget):
    """How many paths keep to the budget and how many do not."""
    passed = failed = 0
    for name in sorted(figures.keys() | budget.keys()):
        if name not in budget or name not in figures:
            problem = f"{name}: is not both measured and stored. Store what is measured: {ACCEPT}"
        else:
            problem = verdict(name, figures[name], budget[name])
        if problem:
            failed += 1
            print(f"FAILED {problem}", flush=True)
        else:
            passed += 1
    return passed, failed


def main():
    parser = argparse.ArgumentParser(prog="tests/budget", description=__doc__.partition("\n")[0])
    parser.add_argument("--weir", type=pathlib.Path, default=ROOT / "target" / "release" / "weir")
    parser.add_argument("--accept", action="store_true", help="store what is measured")
    parser.add_argument("--requests", type=int, default=500, help="N, of N and 2N")
    options = parser.parse_args()
    now = toolchain()
    stored = json.loads(STORED.read_text()) if STORED.exists() else None
    if stored and stored["toolchain"] != now and not options.accept:
        print(f"SKIPPED: the budget was stored with {stored['toolchain']}, this is {now}")
        print("budget: 0 passed, 0 failed, 1 skipped")
        return 0
    budget = stored["instructions"] if stored else {}
    with tempfile.TemporaryDirectory(prefix="weir-budget-") as directory:
        try:
            figures = measure(options.weir, options.requests, pathlib.Path(directory), budget)
        except sut.Failure as failure:
            print(f"FAILED {failure}\nbudget: 0 passed, 1 failed, 0 skipped")
            return 1
    if options.accept:
        text = json.dumps({"toolchain": now, "instructions": figures}, indent=2)
        STORED.write_text(text + "\n")
        print(f"stored in {STORED.relative_to(ROOT)}")
        return 0
    passed, failed = compare(figures, budget)
    print(f"budget: {passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
