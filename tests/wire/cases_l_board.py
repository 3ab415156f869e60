"""The scoreboard's groups: each is run against weir, HAProxy and nginx, and weir's column must be
what `docs/wire-scoreboard.md` says."""

import subprocess

import board
import peers
import rows_backend
import rows_clients
import rows_framing
import rows_h2
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
    "upgrades": board.Group("Upgrades and tunnels", "The backend answers as the row says.", rows_backend.UPGRADE_ROWS),
    "backends": board.Group(
        "Backends that misbehave",
        "Then the next client asks, over another connection if the first is not to be trusted.",
        rows_backend.ROWS,
    ),
    "slow": board.Group(
        "Slow and silent clients", "Every timer is 1 s here; seen to the half second.", rows_clients.SLOW_ROWS
    ),
    "leave": board.Group(
        "Clients that leave while they wait",
        "One place, taken, and a queue. nginx without a subscription has no queue. HAProxy has `option abortonclose`.",
        rows_clients.LEAVE_ROWS,
    ),
    "uploads": board.Group(
        "Uploads that are refused",
        "One place, taken, and no queue. Eight clients at a time write everything before they read, "
        "300 times each up to 60,000 bytes, 200 times from there on.",
        rows_clients.UPLOAD_ROWS,
    ),
}

# What a run has seen; the scoreboard's page is written from it.
SEEN = {}


def every(t, key, **settings):
    """Runs a group on the three, with room for all; then weir must be at rest."""
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
    """docs/wire-scoreboard.md from what this run has seen."""
    haproxy = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True).stdout.split()[2]
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr.split("/")[1]
    versions = {"haproxy": haproxy.split("-")[0], "nginx": nginx.split()[0]}
    board.PAGE.parent.mkdir(exist_ok=True)
    board.PAGE.write_text(board.page(GROUPS, SEEN, versions))


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


for test in [value for name, value in list(vars().items()) if name.startswith("test_")]:
    test.seconds = 120
del test
