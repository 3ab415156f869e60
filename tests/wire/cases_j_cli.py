"""The command line: exit codes, and messages that name key, value and remedy."""

import json
import pathlib
import re
import socket

from harness import check, equal, eventually, free_port, spawn, toml
from raw import Raw, get

NUMBERS = {"memory.target_memory": "512Mi", "memory.memory_per_task": "16Mi"}


def config(t, **settings):
    """A file with valid settings but for those given."""
    base = {"listen": f"127.0.0.1:{free_port()}", "admin.listen": f"127.0.0.1:{free_port()}"}
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    path = t.directory / "weir.toml"
    path.write_text(toml(base | NUMBERS | dotted))
    return path


def says(done, code, *words):
    """The exit code, and each of these in what it said, on one screen."""
    said = done.stdout + done.stderr
    equal(done.returncode, code, f"exit code; it said {said[:1500]!r}")
    for word in words:
        check(word in said, f"{word!r} is not in what it said: {said[:1500]!r}")
    check(code == 0 or len(said.splitlines()) <= 40, f"{len(said.splitlines())} lines")
    check("panicked" not in said and "stack backtrace" not in said, said[:1500])


def test_version(t):
    manifest = pathlib.Path(__file__).resolve().parents[2] / "Cargo.toml"
    version = re.search(r'^version = "(.+)"', manifest.read_text(), re.M).group(1)
    says(t.run_weir("version"), 0, version)


def test_usage_errors(t):
    says(t.run_weir("dance"), 2, "dance")
    says(t.run_weir("run", "--dance"), 2, "--dance")
    says(t.run_weir("run", "--set", "listen"), 2)
    says(t.run_weir("check", "--config"), 2, "--config")


def test_the_two_numbers_are_asked_for(t):
    says(t.run_weir("run"), 1, "memory.target_memory", "memory.memory_per_task")


def test_invalid_configurations(t):
    wrong = {
        "queue.max_wait": "soon",
        "memory.target_memory": "12Qx",
        "memory.safety_factor": -1,
        "listen": "here",
        "queue.depth_max": 3,
        "reject.status": 200,
    }
    for key, value in wrong.items():
        path = config(t, **{key: value})
        for command in ("run", "check"):
            done = t.run_weir(command, "--config", path)
            says(done, 1, key, path.name)
    path = config(t, **wrong)
    says(t.run_weir("check", "--config", path), 1, *(key for key in wrong if key != "queue.depth_max"))


def test_files_that_are_none(t):
    says(t.run_weir("run", "--config", t.directory / "absent.toml"), 1, "absent.toml")
    says(t.run_weir("run", "--config", t.directory), 1, str(t.directory))
    broken = t.directory / "broken.toml"
    broken.write_text("listen = [")
    says(t.run_weir("check", "--config", broken), 1, "broken.toml")
    broken.write_bytes(b"listen = \"\xff\xfe\"\n")
    says(t.run_weir("check", "--config", broken), 1, "broken.toml")


def test_a_port_in_use(t):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        says(t.run_weir("run", "--config", config(t, listen=address)), 3, "listen", address)
        path = config(t, admin__listen=address)
        says(t.run_weir("run", "--config", path), 3, "admin.listen", address)


def test_check_works_the_arithmetic_out(t):
    path = config(t, memory__target_memory="512Mi", memory__memory_per_task="1M")
    done = t.run_weir("check", "--config", path, "--set", "memory.safety_factor=0.9")
    says(done, 0, "483", "memory.safety_factor", path.name)


def in_effect(done, key):
    """The line of `weir check` about one key."""
    lines = [line for line in done.stdout.splitlines() if key in line]
    equal(done.returncode, 0, f"exit code; it said {done.stderr!r}")
    check(len(lines) == 1, f"{key} is on {len(lines)} lines of {done.stdout!r}")
    return lines[0]


def test_layers(t):
    """Defaults < file < environment < flags; each value with its source."""
    key, flag = "queue.max_wait", ["--set", "queue.max_wait=9s"]
    env = {"WEIR__QUEUE__MAX_WAIT": "8s"}
    line = in_effect(t.run_weir("check", "--config", config(t)), key)
    check("1s" in line and "default" in line, line)
    path = config(t, queue__max_wait="7s")
    line = in_effect(t.run_weir("check", "--config", path), key)
    check("7s" in line and path.name in line, line)
    line = in_effect(t.run_weir("check", "--config", path, env=env), key)
    check("8s" in line and "WEIR__QUEUE__MAX_WAIT" in line, line)
    line = in_effect(t.run_weir("check", "--config", path, *flag, env=env), key)
    check("9s" in line and "--set" in line, line)
    done = t.run_weir("check", "--config", path, env={"WEIR__QUEUE__MAX_WIAT": "1s"})
    says(done, 1, "WEIR__QUEUE__MAX_WIAT")


def test_run_with_flags_alone(t):
    """No file: defaults and flags apply."""
    plain = t.plain()
    weir = t.weir(plain, ready=False)
    weir.close()


    flags = []
    for key, value in weir.settings.items():
        flags += ["--set", f"{key}={value}"]
    weir.process = spawn([t.binary, "run", *flags], weir.log_path)
    eventually("weir is ready", weir.is_ready, within=10)
    equal(t.keep(Raw(weir.port)).ask(get("/")).status, 200, "status")


def test_healthcheck(t):
    plain = t.plain()
    weir = t.weir(plain, permits=1, drain__lame_duck="5s")
    says(t.run_weir("healthcheck", "--config", weir.file), 0)
    holder = t.keep(Raw(weir.port))
    holder.send(get("/hold"))
    eventually("the permit is held", lambda: plain.held == 1)
    says(t.run_weir("healthcheck", "--config", weir.file), 0)
    weir.signal()
    eventually("readiness fails", lambda: weir.admin("/readyz")[0] == 503)
    check(t.run_weir("healthcheck", "--config", weir.file).returncode != 0, "healthy while draining")
    plain.release.set()
    equal(holder.response().status, 200, "the holder")
    equal(weir.ended(within=10), 0, "exit code")
    check(t.run_weir("healthcheck", "--config", weir.file).returncode != 0, "healthy when gone")


def test_admin_endpoints(t):
    weir = t.weir(t.plain())
    for path in ("/livez", "/readyz", "/metrics", "/status", "/config"):
        equal(weir.admin(path)[0], 200, path)
    json.loads(weir.admin("/status")[1])
    check("memory" in weir.admin("/config")[1], "/config says nothing of memory")
    equal(weir.admin("/absent")[0], 404, "/absent")
    equal(weir.admin("/drain")[0], 405, "GET /drain")
    equal(weir.admin("/readyz")[0], 200, "a GET has drained nothing")


def test_log_lines_are_json(t):
    weir = t.weir(t.plain(), log__access=True)
    raw = t.keep(Raw(weir.port))
    odd = '/x"y\\?line=%0a'
    equal(raw.ask(get(odd, 'X-Odd: "')).status, 200, "status")
    eventually("there is an access line", lambda: "200" in weir.log())
    for line in weir.log().splitlines():
        check(isinstance(json.loads(line), dict), line)


def test_a_changed_file_is_a_new_limit(t):
    weir = t.weir(t.plain(), permits=8)
    weir.settings["memory.target_memory"] = "20Mi"
    weir.file.write_text(toml(weir.settings))
    weir.signal(1)  # SIGHUP
    eventually("the limit is new", lambda: weir.total("weir_permit_limit") == 20)
    weir.permits = 20
    weir.assert_at_rest()
    weir.file.write_text("memory = 1\nqueue.max_wait = 'soon'\n")
    weir.signal(1)
    eventually("the failure shows", lambda: weir.total("weir_config_reload_success") == 0)
    equal(weir.total("weir_permit_limit"), 20, "the limit stays")
