"""Scripts of varnishtest, the language of Varnish's own tests, for cases that are best told frame by
frame. Each script's head names the settings that weir gets; its server is the backend."""

import pathlib
import re
import subprocess

from harness import check, free_port

SCRIPTS = sorted((pathlib.Path(__file__).resolve().parent / "vtc").glob("*.vtc"))


def script(path):
    def test(t):
        settings = {}
        for key, value in re.findall(r"^# weir: (\S+) = (.+)$", path.read_text(), re.M):
            settings[key] = int(value) if value.isdigit() else value
        port = free_port()
        weir = t.weir(f"http://127.0.0.1:{port}", **settings)
        define = [f"-D{name}={value}" for name, value in (("weir", weir.port), ("backend", port), ("admin", weir.admin_port))]
        command = ["varnishtest", "-t", "25", *define, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=28, check=False, cwd=t.directory)
        # 77 is a script that was skipped: nothing was shown.
        check(done.returncode == 0, f"varnishtest ended with {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-500:]}")

    return test


for path in SCRIPTS:
    globals()[f"test_{path.stem}"] = script(path)
