"""Envoy's effective configuration: ``envoy.yaml`` with what the settings say otherwise."""

import re
from collections.abc import Sequence
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml

from server.core.config import Settings, SettingsError
from server.edge.addresses import reachable_host
from server.edge.margins import HEARTBEAT_MARGIN_SECONDS, IDLE_SECONDS, MARGIN_SECONDS
from server.edge.pages import set_pages

TEMPLATE = Path(__file__).resolve().parents[2] / "envoy.yaml"
"""The checked-in configuration, beside the package ``server``."""

_STREAM_WINDOW = 65536
_LARGEST_WINDOW = 2**31 - 1
_PERMITTED_STREAMS = _LARGEST_WINDOW // _STREAM_WINDOW


def render_envoy(settings: Settings, grpc_ports: Sequence[int] = ()) -> str:
    """The configuration as YAML, to be written to a file for ``envoy --config-path``.

    ``grpc_ports`` are those of the servers on GRPC_HOST where there are several: GRPC_PORT else.
    ``SettingsError`` when a setting cannot be said in it.
    """
    config: dict[str, Any] = yaml.load(TEMPLATE.read_text(encoding="utf-8"), _Loader)  # noqa: S506
    listener = config["static_resources"]["listeners"][0]
    connections = listener["filter_chains"][0]["filters"][0]["typed_config"]

    listener["address"] = _socket(_listening_host(settings.http_host), settings.http_port)
    _set_tls(listener["filter_chains"][0], connections, settings)
    _set_routes(connections, settings)
    _set_cors(connections["route_config"]["virtual_hosts"][0], settings.cors_origins)
    _set_descriptors(connections)
    _set_limits(config, settings)
    for cluster in config["static_resources"]["clusters"]:
        _set_upstream(cluster, settings.grpc_host, grpc_ports or [settings.grpc_port])
    if settings.envoy_admin_port:
        config["admin"] = {"address": _socket("127.0.0.1", settings.envoy_admin_port)}
    return str(yaml.dump(config, Dumper=_Dumper, sort_keys=False, width=120))


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _listening_host(host: str) -> str:
    address = "127.0.0.1" if host == "localhost" else host
    try:
        return str(ip_address(address))
    except ValueError:
        raise SettingsError(
            [f"HTTP_HOST: {host!r} cannot be used; accepted is an IP address or localhost"]
        ) from None


def _socket(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _set_tls(chain: dict[str, Any], connections: dict[str, Any], settings: Settings) -> None:
    if not settings.tls_cert_file:
        return
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    pair = {
        "certificate_chain": {"filename": str(Path(settings.tls_cert_file).resolve())},
        "private_key": {"filename": str(Path(settings.tls_key_file).resolve())},
    }
    chain["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": kind,
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "tls_certificates": [pair],
            },
        },
    }
    connections["route_config"]["response_headers_to_add"].append(
        {
            "header": {"key": "strict-transport-security", "value": "max-age=31536000"},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }
    )


def _set_routes(connections: dict[str, Any], settings: Settings) -> None:
    host = connections["route_config"]["virtual_hosts"][0]
    host["routes"] = [
        route
        for route in host["routes"]
        if route["name"] != "reflection" or (settings.reflection and not settings.is_production)
    ]
    set_pages(host["routes"], settings.log_in_url)
    timeout = settings.unary_deadline_seconds + MARGIN_SECONDS
    quiet = settings.stream_heartbeat_seconds + HEARTBEAT_MARGIN_SECONDS
    connections["stream_idle_timeout"] = _seconds(max(IDLE_SECONDS, timeout + 1))
    for route in host["routes"]:
        if route["name"] == "unary":
            route["route"]["timeout"] = _seconds(timeout)
        elif route["name"] == "stream":
            route["route"]["idle_timeout"] = _seconds(quiet)


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") + "s"


def _set_cors(host: dict[str, Any], origins: tuple[str, ...]) -> None:
    policy = host["typed_per_filter_config"]["envoy.filters.http.cors"]
    policy["allow_origin_string_match"] = [_origin(origin) for origin in origins]


def _origin(origin: str) -> dict[str, Any]:
    """How an origin is matched: ``*`` alone is any, ``:*`` at the end any port, else as it is."""
    if origin == "*":
        return {"safe_regex": {"regex": ".+"}}
    if origin.endswith(":*"):
        return {"safe_regex": {"regex": re.escape(origin.removesuffix(":*")) + "(:[0-9]+)?"}}
    return {"exact": origin}


def _set_descriptors(connections: dict[str, Any]) -> None:
    for entry in connections["http_filters"]:
        if entry["name"] == "envoy.filters.http.grpc_json_transcoder":
            path = Path(str(files("greenroom").joinpath("descriptors.binpb")))
            entry["typed_config"]["proto_descriptor"] = str(path.resolve())


def _set_limits(config: dict[str, Any], settings: Settings) -> None:
    """Breakers above the server's own limits, so that it is the server that says no, and why."""
    calls, streams = (
        cluster["circuit_breakers"]["thresholds"][0]
        for cluster in config["static_resources"]["clusters"]
    )
    calls["max_requests"] = max(calls["max_requests"], 4 * settings.unary_limit)
    calls["max_pending_requests"] = calls["max_requests"]
    most = min(_PERMITTED_STREAMS, 2 * settings.stream_limit * settings.processes)
    streams["max_requests"] = streams["max_pending_requests"] = most
    for monitor in config["overload_manager"]["resource_monitors"]:
        limit = monitor["typed_config"]
        if "max_active_downstream_connections" in limit:
            given = limit["max_active_downstream_connections"]
            limit["max_active_downstream_connections"] = max(given, most)


def _set_upstream(cluster: dict[str, Any], host: str, ports: Sequence[int]) -> None:
    """An address is taken as it is; a name is resolved, and every address it has is a server."""
    host = reachable_host(host)
    try:
        address = ip_address(host)
    except ValueError:
        del cluster["type"]
        cluster["cluster_type"] = {
            "name": "envoy.cluster.strict_dns",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster",
                "dns_refresh_rate": "5s",
                "dns_lookup_family": "ALL",
            },
        }
    else:
        host = str(address)
    endpoints = [{"endpoint": {"address": _socket(host, port)}} for port in ports]
    cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]
