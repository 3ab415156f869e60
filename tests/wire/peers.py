"""The proxies that the scoreboard compares: weir, HAProxy and nginx, each before a recorder of its
own, with the same timers and the same limits."""

import contextlib
import socket

from harness import accepts, eventually, free_port, spawn
from recorder import Recorder

NAMES = ("weir", "HAProxy", "nginx")

# Every timer of the clients' side and of the backend's, in seconds.
TIMER = 1.0
CONNECT = 0.3

HAPROXY = """
global
  maxconn 2000
  nbthread 1
  stats socket {dir}/haproxy.sock mode 600 level admin
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
daemon off; master_process off; pid {dir}/nginx.pid; error_log stderr crit;
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

# What differs by how a proxy is set up: plenty of room; one place and a queue; one place, no queue.
OPEN, QUEUE, FULL = "open", "queue", "full"


class Peer:
    """One running proxy and its recorder."""

    def __init__(self, name, recorder, port, h2_port, weir=None, stats=None):
        self.name, self.recorder, self.port, self.h2_port = name, recorder, port, h2_port
        self.weir, self.stats = weir, stats
        self.upstream = None  # its port, once it runs
        self.arrived = 0  # requests that must show in weir's outcomes, where a group counts them

    def queued(self):
        """How many requests wait for a place."""
        if self.weir:
            return int(self.weir.queued())
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.stats))
            sock.sendall(b"show stat\n")
            text = b""
            while data := sock.recv(65536):
                text += data
        rows = [line.split(",") for line in text.decode().splitlines()]
        return sum(int(row[2]) for row in rows[1:] if row[:2] == ["back", "BACKEND"])


def start(t, name, mode=OPEN, idle=TIMER, server="1s", upstream=None, **settings):
    """A proxy of that name; the case ends it. Further settings are weir's."""
    recorder = t.keep(Recorder())
    target = upstream or recorder.port
    begin = {"weir": start_weir, "HAProxy": start_haproxy, "nginx": start_nginx}[name]
    peer = begin(t, recorder, target, mode, f"{round(idle * 1000)}ms", server, settings)
    peer.upstream = target
    for port in {peer.port, peer.h2_port}:
        eventually(f"{name} listens", lambda n=port: accepts(n), within=10)
    return peer


def start_weir(t, recorder, target, mode, idle, server, settings):
    chosen = {
        "permits": 64 if mode == OPEN else 1,
        "queue__strategy": "immediate" if mode == FULL else "queue",
        "queue__max_wait": "15s" if mode == QUEUE else "1s",
        # One, or a connection to the backend waits for the next request on the other's side.
        "workers": 1,
        "timeouts__sniff": "1s",
        "timeouts__head": "1s",
        "timeouts__body_idle": "1s",
        "timeouts__connect": "300ms",
        "timeouts__response_head": server,
        "timeouts__response_idle": server,
        "timeouts__write_stall": "1s",
        "timeouts__keep_alive_idle": idle,
        "timeouts__h2_idle": idle,
        "timeouts__upstream_idle": "3s",
    }
    weir = t.weir(f"http://127.0.0.1:{target}", **(chosen | settings))
    return Peer("weir", recorder, weir.port, weir.port, weir)


def directory(t, name):
    for number in range(100):
        made = t.directory / f"{name}-{number}"
        with contextlib.suppress(FileExistsError):
            made.mkdir()
            return made
    raise AssertionError("no directory")


def start_haproxy(t, recorder, target, mode, idle, server, settings):
    base, port = directory(t, "haproxy"), free_port()
    more = "" if mode == OPEN else "maxconn 1"
    if settings.get("upstream_protocol") == "http2":
        more += " proto h2"
    queue = {OPEN: "1s", QUEUE: "15s", FULL: "1ms"}[mode]
    text = HAPROXY.format(
        dir=base, port=port, upstream=target, idle=idle, server=server, queue=queue, more=more
    )
    config = base / "haproxy.cfg"
    config.write_text(text)
    keep(t, ["haproxy", "-db", "-f", config], base)
    return Peer("HAProxy", recorder, port, port, stats=base / "haproxy.sock")


def start_nginx(t, recorder, target, mode, idle, server, settings):
    base, port, h2_port = directory(t, "nginx"), free_port(), free_port()
    limit = "limit_conn all 1;" if mode == FULL else ""
    text = NGINX.format(
        dir=base, port=port, h2_port=h2_port, upstream=target, idle=idle, server=server, limit=limit
    )
    if settings.get("upstream_protocol") == "http2":
        text = text.replace("proxy_pass http://back; proxy_http_version 1.1;", "grpc_pass grpc://back;")
        lines = text.splitlines()
        text = "\n".join(line for line in lines if "proxy_re" not in line and "proxy_set" not in line)
        text = text.replace("proxy_connect_timeout 300ms;", "")
    config = base / "nginx.conf"
    config.write_text(text)
    keep(t, ["nginx", "-e", "stderr", "-p", base, "-c", config], base)
    return Peer("nginx", recorder, port, h2_port)


def keep(t, command, base):
    process = spawn(command, base / "log")

    class Ended:
        @staticmethod
        def close():
            if process.poll() is None:
                process.terminate()
            process.wait(5)

    t.keep(Ended)
