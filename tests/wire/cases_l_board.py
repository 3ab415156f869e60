"""The scoreboard's groups: each is run against weir, HAProxy, nginx and Envoy, and weir's column must be
what `docs/wire-scoreboard.md` says."""

import re
import subprocess

import board
import cores
import peers
import peers_envoy
import rows_backend
import rows_clients
import rows_flood
import rows_framing
import rows_h2
import rows_leave
import rows_life
import rows_tiny
import rows_upgrades
import rows_upstream
from cases_k_regressions import black_hole
from harness import eventually, free_port
import rows_heads

GROUPS = {
    "framing": board.Group(
        "Where a request ends",
        "Behind most of these bytes a second request is hidden or pipelined.",
        rows_framing.ROWS,
    ),
    "hosts": board.Group("Hosts, targets and sizes", "Nothing but the upstream is dialled.", rows_heads.HOST_ROWS),
    "h2": board.Group("HTTP/2 requests, and how they become HTTP/1.1", "Sent frame by frame; the backend speaks HTTP/1.1.", rows_h2.ROWS),
    "frames": board.Group("HTTP/2 frames out of order", "Each on a connection of its own.", rows_h2.FRAME_ROWS),
    "fields": board.Group("Fields that end at a proxy", "As the backend got them.", rows_heads.FIELD_ROWS),
    "upgrades": board.Group("Upgrades and tunnels", "The backend answers as the row says.", rows_upgrades.ROWS),
    "backends": board.Group(
        "Backends that misbehave",
        "Then the next client asks, over another connection if the first is not to be trusted. weir's permit is back "
        "within 100 ms: the median of five trials, of three where a timer runs in each.",
        rows_backend.ROWS,
    ),
    "slow": board.Group(
        "Slow and silent clients", "Every timer is 1 s here; seen to the half second.", rows_clients.SLOW_ROWS
    ),
    "leave": board.Group(
        "Clients that leave while they wait",
        "One place, taken, and a queue. Five leave, one after the other; promised are 250 ms to notice, and the median "
        "counts. nginx without a subscription has no queue; Envoy's are the requests that its pool of connections "
        "keeps pending. HAProxy has `option abortonclose`.",
        rows_leave.LEAVE_ROWS,
    ),
    "uploads": board.Group(
        "Uploads that are refused",
        "One place, taken, and no queue. Eight clients at a time write everything before they read, "
        "300 times each up to 60,000 bytes, 200 times from there on.",
        rows_clients.UPLOAD_ROWS,
    ),
    "refused": board.Group("Backends that are not there", "Nobody listens at the backend's port.", rows_upstream.REFUSED_ROWS),
    "hole": board.Group("Backends that cannot be reached", "Its backlog is full: no connection comes about, nor is it refused.", rows_upstream.HOLE_ROWS),
    "stale": board.Group(
        "Stale connections to the backend",
        "30 requests over one connection each; the backend closes kept connections without a word, behind "
        "its answer or when the next request has come.",
        rows_upstream.STALE_ROWS,
    ),
    "h2backend": board.Group(
        "HTTP/2 backends that misbehave",
        "To the backend over HTTP/2; nginx does so for gRPC only, so that its column is by `grpc_pass`.",
        rows_upstream.H2_ROWS,
    ),
    "tiny": board.Group(
        "Tiny messages",
        "gRPC over HTTP/2 on both sides, each message in a frame of its own (h2#944).",
        rows_tiny.TINY_ROWS,
    ),
    "takers": board.Group(
        "Tiny messages upwards",
        "gRPC over HTTP/2 on both sides, each message in a frame of its own.",
        rows_tiny.TAKER_ROWS,
    ),
    "stop": board.Group(
        "A stop with clients there",
        "By the signal that lets clients finish: SIGTERM to weir, SIGUSR1 to HAProxy, SIGQUIT to nginx. Envoy has none: "
        "a graceful end is its hot restarter's, or somebody's who drains it by its admin port first. A request is lost "
        "if the backend had it; one that is turned away before may be asked again.",
        rows_life.STOP_ROWS,
    ),
    "reload": board.Group(
        "Reloads with clients there",
        "weir and nginx by SIGHUP, HAProxy by SIGUSR2 to its master, Envoy by a new file of clusters.",
        rows_life.RELOAD_ROWS,
    ),
    "descriptors": board.Group(
        "No descriptors left",
        "The limit is lowered while it runs, so that no bound of its own is in the way.",
        rows_life.DESCRIPTOR_ROWS,
    ),
    "floods": board.Group(
        "HTTP/2 floods",
        "Attackers follow each other for as long as an honest client asks, a thousand times a second over HTTP/1.1; "
        "the proxy, with one worker, and the backend have one core, all else another. The honest client suffers if it "
        f"loses a request, or if in most windows of {rows_flood.WINDOW_SECONDS:g} s its 99th percentile is over twice that before "
        "the flood, over twice that of a client that asks the backend itself meanwhile, and over "
        f"{rows_flood.P99_FLOOR_MS:g} ms, the machine's own; and that in two attacks of three.",
        rows_flood.ROWS,
    ),
}

# What a run has seen; the scoreboard's page is written from it.
SEEN = {}


def every(t, key, **settings):
    """Runs a group on all, with room for all; then weir must be at rest."""
    chosen = [peers.start(t, name, **settings) for name in peers.NAMES]
    finish(key, chosen, board.run_group(GROUPS[key], chosen))


def one_place(t, key, mode, **settings):
    """Runs a group where there is one place; every arrival at weir is counted."""
    chosen = [peers.start(t, name, mode, idle=10, server="20s", **settings) for name in peers.NAMES]
    finish(key, chosen, board.run_group(GROUPS[key], chosen, check_honest=False))


def finish(key, chosen, table):
    SEEN[key] = table
    board.at_rest(chosen[0])
    if not board.WRITING:
        board.compare(key, GROUPS[key], table)


def write_page():
    """docs/wire-scoreboard.md from what this run has seen, if that is everything."""
    if missing := [key for key in GROUPS if key not in SEEN]:
        print(f"the page is not written: this run has not seen {', '.join(missing)}")
        return
    board.PAGE.parent.mkdir(exist_ok=True)
    board.PAGE.write_text(board.page(GROUPS, SEEN, versions()))


def versions():
    """The first three numbers in what each says of itself."""
    commands = {"haproxy": ["haproxy", "-v"], "nginx": ["nginx", "-v"], "envoy": [peers_envoy.binary(), "--version"]}
    said = {}
    for name, command in commands.items():
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        said[name] = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)[0]
    return said


def test_framing(t):
    every(t, "framing")


def test_hosts(t):
    every(t, "hosts")


def test_fields(t):
    every(t, "fields")


def test_h2(t):
    every(t, "h2")


def test_frames(t):
    every(t, "frames")


def test_upgrades(t):
    every(t, "upgrades")


def test_backends(t):
    every(t, "backends")


def test_slow(t):
    every(t, "slow")


def test_leave(t):
    one_place(t, "leave", peers.QUEUE)


def test_uploads(t):
    one_place(t, "uploads", peers.FULL)


def test_refused(t):
    chosen = []
    for name in peers.NAMES:
        port = free_port()
        chosen.append(peers.start(t, name, upstream=port))
        chosen[-1].target = port
    finish("refused", chosen, board.run_group(GROUPS["refused"], chosen, check_honest=False))


def test_hole(t):
    port = int(black_hole(t).rsplit(":", 1)[1])
    chosen = [peers.start(t, name, upstream=port) for name in peers.NAMES]
    finish("hole", chosen, board.run_group(GROUPS["hole"], chosen, check_honest=False))


def test_stale(t):
    every(t, "stale", idle=5)


def over_http2(t, key, recorder, **more):
    """Runs a group before backends that speak HTTP/2."""
    chosen = []
    for name in peers.NAMES:
        backend = t.keep(recorder())
        chosen.append(peers.start(t, name, upstream=backend.port, upstream_protocol="http2", **more))
        chosen[-1].recorder = backend
    finish(key, chosen, board.run_group(GROUPS[key], chosen, check_honest=False))


def test_h2backend(t):
    over_http2(t, "h2backend", rows_upstream.H2Recorder)


def test_tiny(t):
    over_http2(t, "tiny", rows_tiny.Tiny, idle=60, server="60s", timeouts__write_stall="60s")


def test_takers(t):
    over_http2(t, "takers", rows_tiny.Paused, idle=20, server="20s")


def test_stop(t):
    every(t, "stop")


def test_reload(t):
    every(t, "reload")


def test_descriptors(t):
    every(t, "descriptors")


def test_floods(t):
    """The backend is nginx; what weir holds may not grow by more than 8 MB."""
    backend = t.nginx()
    port = int(backend.url.rsplit(":", 1)[1])
    chosen = [peers.start(t, name, upstream=port, idle=5, server="10s", permits=512) for name in peers.NAMES]
    # The backend beside them: who asks it itself then meets what the proxy's core is busy with.
    for peer in [backend, *chosen]:
        cores.pin(peer.process, cores.pair()[1])
    before = chosen[0].weir.total("process_resident_memory_bytes")
    table = board.run_group(GROUPS["floods"], chosen, check_honest=False, in_turn=True)
    small = lambda: chosen[0].weir.total("process_resident_memory_bytes") - before <= 8 << 20  # noqa: E731
    eventually("weir's memory is back within 8 MB", small, 20)
    finish("floods", chosen, table)


for test in [value for name, value in list(vars().items()) if name.startswith("test_")]:
    test.seconds = 180
del test
