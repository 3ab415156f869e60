"""The other peers: nginx, Envoy, and Knative's queue-proxy where its binary is given.

Owns their configurations.
"""

import json
import os
import re

import install
import lab
import machine
from peers import Peer


class Nginx(Peer):
    """nginx of Debian: kept upstream connections, no temporary files; it has no queue for requests."""

    name = "nginx"
    queues = False
    shedding = "limit_conn 1, limit_conn_status 503"

    def version(self):
        return install.says(self.binary, "-v").removeprefix("nginx version: ")

    def serving(self, process):
        """Its worker; with several there is no one process that does the work."""
        found = []

        def one():
            found[:] = machine.children(process.pid)
            return len(found) == 1

        lab.eventually("nginx has one worker", one, within=5)
        return found[0]

    def command(self, bench, job, ports):
        config = bench.lab.path("nginx.conf")
        scheme = "grpc" if job.backend_h2 else "proxy"
        temporary = bench.lab.directory / config.stem
        temporary.mkdir()
        own = "" if os.geteuid() else "user root;"
        paths = "\n".join(
            f"  {kind}_temp_path {temporary};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        limit = f"limit_conn one {job.permits}; limit_conn_status 503;" if job.immediate else ""
        plain = """
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_max_temp_file_size 0;
      proxy_request_buffering off;
      proxy_read_timeout 300s;"""
        grpc = "grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
        config.write_text(f"""
worker_processes {job.workers}; daemon off; error_log stderr crit; {own}
pid {temporary}/pid;
worker_rlimit_nofile {lab.descriptors()};
events {{ worker_connections {2 * job.clients}; }}
http {{
{paths}
  access_log off; keepalive_requests 100000000; keepalive_timeout 300s; client_max_body_size 0;
  http2_max_concurrent_streams {job.streams};
  limit_conn_zone $server_port zone=one:1m;
  upstream b {{ server 127.0.0.1:{job.backend}; keepalive 1000; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{ports[0]}{" http2" if job.front_h2 else ""} backlog=4096;
    location / {{
      {limit}
      {grpc if job.backend_h2 else plain}
      {scheme}_pass {scheme if job.backend_h2 else "http"}://b;
    }}
  }}
}}
""")
        return [self.binary, "-c", config]


def typed(name, **fields):
    """One of Envoy's typed extensions."""
    return {"@type": f"type.googleapis.com/envoy.extensions.{name}"} | fields


class Envoy(Peer):
    """Envoy, one worker thread per worker; limits and queue by circuit breakers."""

    name = "envoy"
    # One at the backend, and one that waits: with no room for waiting it would refuse the first, too.
    holders = 2
    shedding = "circuit breaker, max_connections 1 and max_pending_requests 1 (fewer refuse everything)"

    def version(self):
        found = re.search(r"version: (\S+)", install.says(self.binary, "--version"))
        return f"envoy {found.group(1)}" if found else ""

    def command(self, bench, job, ports):
        def address(port):
            return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

        manager = typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="f",
            use_remote_address=True,
            http2_protocol_options={"max_concurrent_streams": job.streams},
            route_config={
                "virtual_hosts": [
                    {
                        "name": "v",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "b", "timeout": "0s"}}],
                    }
                ]
            },
            http_filters=[{"name": "router", "typed_config": typed("filters.http.router.v3.Router")}],
        )
        limits = {
            "max_connections": job.permits,
            "max_pending_requests": 1 if job.immediate else job.pending,
            "max_requests": job.permits if job.backend_h2 else 1_000_000,
        }
        protocol = {"http2_protocol_options" if job.backend_h2 else "http_protocol_options": {}}
        options = typed("upstreams.http.v3.HttpProtocolOptions", explicit_http_config=protocol)
        endpoint = {"endpoint": {"address": address(job.backend)}}
        cluster = {
            "name": "b",
            "type": "STATIC",
            "connect_timeout": "1s",
            "circuit_breakers": {"thresholds": [limits]},
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
            "load_assignment": {"cluster_name": "b", "endpoints": [{"lb_endpoints": [endpoint]}]},
        }
        listener = {
            "address": address(ports[0]),
            "tcp_backlog_size": 4096,
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }
        config = bench.lab.path("envoy.json")
        config.write_text(
            json.dumps(
                {
                    "admin": {"address": address(ports[1])},
                    "static_resources": {"listeners": [listener], "clusters": [cluster]},
                }
            )
        )
        options = ["--concurrency", job.workers, "--disable-hot-restart", "--log-level", "error"]
        return [self.binary, "-c", config, *options]

    def queued(self, running):
        found = re.search(r"upstream_rq_pending_active: (\d+)", running.ask("/stats?filter=pending_active"))
        if not found:
            raise lab.Untrusted("envoy does not say how many requests wait")
        return int(found.group(1))


class QueueProxy(Peer):
    """Knative's queue-proxy, told by its environment what Knative would tell it.

    It takes ports 8022, 9090 and 9091 as well, which cannot be chosen, and listens on all addresses.
    """

    name = "queue-proxy"
    queues = False
    cannot = {
        "cpu-h2-h1": "it speaks to the backend what the client speaks",
        "reject": "its queue holds ten times its concurrency and cannot be turned off",
        "goodput": "its queue is bounded by length alone",
    }

    def version(self):
        return f"knative queue-proxy, {os.path.getsize(self.binary)} bytes"

    def environment(self, job, ports):
        return {
            "CONTAINER_CONCURRENCY": str(job.permits),
            "GOMAXPROCS": str(job.workers),
            "QUEUE_SERVING_PORT": str(ports[0]),
            "QUEUE_SERVING_TLS_PORT": str(ports[1]),
            "USER_PORT": str(job.backend),
            "REVISION_TIMEOUT_SECONDS": "300",
            "SERVING_CONFIGURATION": "c",
            "SERVING_LOGGING_CONFIG": "",
            "SERVING_LOGGING_LEVEL": "error",
            "SERVING_NAMESPACE": "n",
            "SERVING_POD": "p",
            "SERVING_POD_IP": "127.0.0.1",
            "SERVING_REVISION": "r",
        }

    def command(self, bench, job, ports):
        return [self.binary]
