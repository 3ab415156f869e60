"""The proxies that the scoreboard compares: weir, HAProxy, nginx and Envoy, each before a recorder of
its own, with the same timers and the same limits."""

import contextlib
import dataclasses
import functools
import http.client
import itertools
import os
import re
import signal
import socket

import peers_envoy
from harness import accepts, eventually, free_port, spawn, toml
from recorder import Recorder

NAMES = ("weir", "HAProxy", "nginx", "Envoy")

# Every timer of the clients' side and of the backend's, in seconds.
TIMER = 1.0
CONNECT = 0.3

HAPROXY = """
global
  maxconn 2000
  nbthread 1
  stats socket {dir}/haproxy.sock mode 600 level admin expose-fd listeners
defaults
  mode http
  option abortonclose
  option http-keep-alive
  timeout connect 300ms
  timeout client 1s
  timeout http-request 1s
  timeout http-keep-alive {idle}
  timeout server {server}
  timeout tunnel 20s
  timeout queue {queue}
  retries 1
  retry-on conn-failure empty-response
frontend front
  bind 127.0.0.1:{port}
  option forwardfor
  default_backend back
backend back
  http-reuse always
  http-request disable-l7-retry unless {{ method GET HEAD OPTIONS }}
  server one 127.0.0.1:{upstream} {more}
"""

NGINX = """
daemon off; {master} pid {dir}/nginx.pid; error_log stderr crit;
events {{ worker_connections 2000; }}
http {{
  access_log off;
  client_max_body_size 20m;
  client_body_temp_path {dir}/temp-body; proxy_temp_path {dir}/temp-proxy;
  fastcgi_temp_path {dir}/temp-fastcgi; uwsgi_temp_path {dir}/temp-uwsgi;
  scgi_temp_path {dir}/temp-scgi;
  client_header_timeout 1s; client_body_timeout 1s; send_timeout 1s; keepalive_timeout {idle};
  lingering_timeout 1s; lingering_time 2s;
  limit_conn_zone $server_name zone=all:1m; limit_conn_status 503;
  map $http_upgrade $upgrade {{ default upgrade; "" ""; }}
  upstream back {{ server 127.0.0.1:{upstream}; keepalive 8; }}
  server {{
    server_name all;
    listen 127.0.0.1:{port}; listen 127.0.0.1:{h2_port} http2;
    {limit}
    location / {{
      proxy_pass http://back; proxy_http_version 1.1;
      proxy_request_buffering off; proxy_buffering off;
      proxy_connect_timeout 300ms; proxy_read_timeout {server}; proxy_send_timeout {server};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrade;
    }}
  }}
}}
"""

# How a proxy is set up: plenty of room; few places (one) and a queue; few places and no queue.
OPEN, QUEUE, FULL = "open", "queue", "full"


class Peer:
    """One running proxy and its recorder."""

    def __init__(self, name, recorder, port, h2_port, process, weir=None, waiting=None, reload=None, leave=None):
        self.name, self.recorder, self.port, self.h2_port = name, recorder, port, h2_port
        self.process, self.weir = process, weir
        # How many requests wait for a place; none has a queue that does not say.
        self.queued = waiting
        self.reload = reload  # takes its configuration anew, if it can
        self.stop_signal = leave  # the one that ends it when its clients are served, if there is one
        self.upstream = None  # its port, once it runs
        self.again = None  # starts another of its name
        self.arrived = 0  # requests that must show in weir's outcomes, where a group counts them


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a proxy is told: `idle` is in seconds. A `managed` one can be reloaded and told to go."""

    target: int
    mode: str
    places: int
    idle: float
    server: str
    managed: bool
    settings: dict  # weir's own

    @property
    def h2_backend(self):
        return self.settings.get("upstream_protocol") == "http2"

    @property
    def idle_ms(self):
        return f"{round(self.idle * 1000)}ms"


def start(t, name, mode=OPEN, idle=TIMER, server="1s", upstream=None, places=1, managed=False, **settings):
    """A proxy of that name; the case ends it. Further settings are weir's."""
    recorder = t.keep(Recorder())
    target = upstream or recorder.port
    begin = {"weir": start_weir, "HAProxy": start_haproxy, "nginx": start_nginx, "Envoy": start_envoy}[name]
    peer = begin(t, recorder, Setup(target, mode, places, idle, server, managed, settings))
    peer.upstream = target
    peer.again = functools.partial(start, t, name)
    for port in {peer.port, peer.h2_port}:
        eventually(f"{name} listens", lambda n=port: accepts(n), within=10)
    return peer


def start_weir(t, recorder, setup):
    chosen = {
        "permits": 64 if setup.mode == OPEN else setup.places,
        "queue__strategy": "immediate" if setup.mode == FULL else "queue",
        "queue__max_wait": "15s" if setup.mode == QUEUE else "1s",
        # One, or a connection to the backend waits for the next request on the other's side.
        "workers": 1,
        "timeouts__sniff": "1s",
        "timeouts__head": "1s",
        "timeouts__body_idle": "1s",
        "timeouts__connect": "300ms",
        "timeouts__response_head": setup.server,
        "timeouts__response_idle": setup.server,
        "timeouts__write_stall": "1s",
        "timeouts__keep_alive_idle": setup.idle_ms,
        "timeouts__h2_idle": setup.idle_ms,
        "timeouts__upstream_idle": "3s",
    }
    weir = t.weir(f"http://127.0.0.1:{setup.target}", **(chosen | setup.settings))
    turns = itertools.count(1)

    def reload():
        """With other limits each time, more and fewer."""
        weir.permits = 64 + 8 * (next(turns) % 2)
        new = weir.file.with_suffix(".new")
        new.write_text(toml(weir.settings | {"memory.target_memory": f"{weir.permits}Mi"}))
        new.replace(weir.file)
        weir.signal(signal.SIGHUP)

    return Peer(
        "weir", recorder, weir.port, weir.port, weir.process, weir, lambda: int(weir.queued()), reload, signal.SIGTERM
    )


def directory(t, name):
    for number in range(100):
        made = t.directory / f"{name}-{number}"
        with contextlib.suppress(FileExistsError):
            made.mkdir()
            return made
    raise AssertionError("no directory")


def start_haproxy(t, recorder, setup):
    base, port = directory(t, "haproxy"), free_port()
    more = "" if setup.mode == OPEN else f"maxconn {setup.places}"
    if setup.h2_backend:
        more += " proto h2"
    queue = {OPEN: "1s", QUEUE: "15s", FULL: "1ms"}[setup.mode]
    text = HAPROXY.format(
        dir=base, port=port, upstream=setup.target, idle=setup.idle_ms, server=setup.server, queue=queue, more=more
    )
    config = base / "haproxy.cfg"
    config.write_text(text)
    # Reloads need a master, which keeps the listeners open between its workers.
    process = keep(t, ["haproxy", *(["-W"] if setup.managed else []), "-db", "-f", config], base)

    def waiting():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(base / "haproxy.sock"))
            sock.sendall(b"show stat\n")
            text = b""
            while data := sock.recv(65536):
                text += data
        rows = [line.split(",") for line in text.decode().splitlines()]
        return sum(int(row[2]) for row in rows[1:] if row[:2] == ["back", "BACKEND"])

    reload = functools.partial(process.send_signal, signal.SIGUSR2)
    return Peer("HAProxy", recorder, port, port, process, None, waiting, reload, signal.SIGUSR1)


def start_nginx(t, recorder, setup):
    base, port, h2_port = directory(t, "nginx"), free_port(), free_port()
    limit = f"limit_conn all {setup.places};" if setup.mode == FULL else ""
    # Without a master it knows neither reload nor a graceful end.
    master = "worker_processes 1;" if setup.managed else "master_process off;"
    if setup.managed and os.geteuid() == 0:
        master += " user root;"
    text = NGINX.format(
        dir=base, port=port, h2_port=h2_port, upstream=setup.target, idle=setup.idle_ms, server=setup.server, limit=limit,
        master=master,
    )
    if setup.h2_backend:
        text = text.replace("proxy_pass http://back; proxy_http_version 1.1;", "grpc_pass grpc://back;")
        lines = text.splitlines()
        text = "\n".join(line for line in lines if "proxy_re" not in line and "proxy_set" not in line)
        text = text.replace("proxy_connect_timeout 300ms;", "")
    config = base / "nginx.conf"
    config.write_text(text)
    process = keep(t, ["nginx", "-e", "stderr", "-p", base, "-c", config], base)
    reload = functools.partial(process.send_signal, signal.SIGHUP)
    return Peer("nginx", recorder, port, h2_port, process, None, None, reload, signal.SIGQUIT)


def start_envoy(t, recorder, setup):
    base, port, admin_port = directory(t, "envoy"), free_port(), free_port()
    clusters, versions = base / "clusters.json", itertools.count(1)
    reload = lambda: peers_envoy.write_clusters(setup, clusters, next(versions))  # noqa: E731
    reload()
    config = base / "envoy.json"
    config.write_text(peers_envoy.bootstrap(setup, port, admin_port, clusters))
    process = keep(t, peers_envoy.command(config), base)

    def waiting():
        connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=5)
        try:
            connection.request("GET", "/stats?filter=cluster.back.upstream_rq_pending_active")
            return int(re.search(rb"pending_active: (\d+)", connection.getresponse().read())[1])
        finally:
            connection.close()

    return Peer("Envoy", recorder, port, port, process, None, waiting, reload)


def keep(t, command, base):
    process = spawn(command, base / "log")

    class Ended:
        @staticmethod
        def close():
            if process.poll() is None:
                process.terminate()
            process.wait(5)

    t.keep(Ended)
    return process
