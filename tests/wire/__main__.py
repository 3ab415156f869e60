"""Runs the wire cases: `python tests/wire [--weir BINARY] [WORD…]`.

A case is a function `test_…(t)` of a `cases_*.py` file; its words are its name. Each gets a fresh
`harness.Case`, from which it takes a weir, backends and clients, all ended with it. Words on the
command line choose the cases whose `file.name` contains one of them. The last line is
`wire: N passed, N failed, N skipped`. `--scoreboard` writes docs/wire-scoreboard.md from what its
cases see.
"""

import importlib
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

# Before anything forks or imports grpc: proxies of the environment must not see loopback traffic,
# and grpc's fork handlers only get in the way of subprocess.
for name in ("http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
sys.dont_write_bytecode = True

import harness  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
CASE_SECONDS_MAX = 30


def too_long(*_):
    raise harness.Failure("took more seconds than it may")


def cases(words):
    """Every chosen case, in the order of the files and of the functions in them."""
    for path in sorted(HERE.glob("cases_*.py")):
        module = importlib.import_module(path.stem)
        area = path.stem.removeprefix("cases_")
        for name, function in list(vars(module).items()):
            full = f"{area}.{name.removeprefix('test_')}"
            chosen = not words or any(word in full for word in words)
            if name.startswith("test_") and chosen:
                yield full, function


def run(name, function, weir, directory):
    """One case, bounded in time, with its teardown: None, or what went wrong."""
    case = harness.Case(name, weir, directory)
    signal.alarm(getattr(function, "seconds", CASE_SECONDS_MAX))
    try:
        function(case)
        case.assert_at_rest()
        return None
    except harness.Skip:
        raise
    except Exception as error:  # noqa: BLE001  (whatever it is, the case failed)
        # An assertion speaks for itself; anything else needs its trace.
        said = str(error) if isinstance(error, harness.Failure) else traceback.format_exc()
        where = traceback.extract_tb(error.__traceback__)[1:2]
        line = f" (line {where[0].lineno})" if where else ""
        return f"{said}{line}\n{case.logs()}"
    finally:
        signal.alarm(0)
        case.close()


def main(arguments):
    weir = pathlib.Path("target/release/weir")
    if arguments[:1] == ["--weir"]:
        weir, arguments = pathlib.Path(arguments[1]), arguments[2:]
    writing = "--scoreboard" in arguments
    if writing:
        arguments = [word for word in arguments if word != "--scoreboard"] or ["l_board."]
    if not weir.is_file():
        print(f"no weir at {weir}: cargo build --release", file=sys.stderr)
        return 2
    signal.signal(signal.SIGALRM, too_long)
    passed, failed, skipped = 0, [], 0
    board = importlib.import_module("board")
    board.WRITING = writing
    directory = pathlib.Path(tempfile.mkdtemp(prefix="weir-wire-"))
    try:
        for name, function in cases(arguments):
            started = time.monotonic()
            try:
                problem = run(name, function, weir.resolve(), directory)
            except harness.Skip as reason:
                skipped += 1
                print(f"SKIPPED: {name}: {reason}", flush=True)
                continue
            seconds = time.monotonic() - started
            if problem is None:
                passed += 1
                print(f"ok      {seconds:6.2f} s  {name}", flush=True)
            else:
                failed.append(name)
                print(f"FAILED  {seconds:6.2f} s  {name}\n    " + problem.replace("\n", "\n    "), flush=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if writing and not failed:
        importlib.import_module("cases_l_board").write_page()
    for name in failed:
        print(f"failed: {name}")
    print(f"wire: {passed} passed, {len(failed)} failed, {skipped} skipped", flush=True)
    # Without the interpreter's long goodbye: threads of grpc and of backends may still wait.
    sys.stdout.flush()
    os._exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
