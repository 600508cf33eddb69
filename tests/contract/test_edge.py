"""``envoy.yaml`` against the protos and against what an edge must hold."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import MethodDescriptor

from greenroom.options.v1 import policy_pb2
from server.core.config import load_settings
from server.edge.render import render_envoy
from server.edge.routes import Binding, Method, read_methods, regenerated
from server.wire.policies import rule_of
from tests.support.services import all_methods, all_services

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "envoy.yaml").read_text()
HEARTBEAT_SECONDS = 20
MARGIN_SECONDS = 2
PRODUCTION = {"ENVIRONMENT": "production", "SMTP_URL": "smtp://mail.example.com"}

METHODS = {method.full_name: method for method in all_methods()}
STREAMS = [m for m in METHODS.values() if m.client_streaming or m.server_streaming]
UNARY = [m for m in METHODS.values() if m not in STREAMS]


@cache
def rendered(**settings: str) -> dict[str, Any]:
    return dict(yaml.safe_load(render_envoy(load_settings(settings))))


CONFIGS = {
    "as it stands": lambda: dict(yaml.safe_load(TEXT)),
    "development": rendered,
    "production": lambda: rendered(**PRODUCTION),
    "large": lambda: rendered(UNARY_LIMIT="100000", STREAM_LIMIT="1000000", DRAIN_SECONDS="300"),
}


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The file, and what becomes of it with some settings."""
    return CONFIGS[request.param]()


def connections(config: dict[str, Any]) -> dict[str, Any]:
    """The HTTP connection manager, which is all of the listener."""
    (listener,) = config["static_resources"]["listeners"]
    (chain,) = listener["filter_chains"]
    (entry,) = chain["filters"]
    return dict(entry["typed_config"])


def http_filter(config: dict[str, Any], name: str) -> dict[str, Any]:
    found = {entry["name"]: entry for entry in connections(config)["http_filters"]}
    return dict(found[f"envoy.filters.http.{name}"]["typed_config"])


def clusters(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {cluster["name"]: cluster for cluster in config["static_resources"]["clusters"]}


def routes(config: dict[str, Any]) -> list[dict[str, Any]]:
    (host,) = connections(config)["route_config"]["virtual_hosts"]
    return list(host["routes"])


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def route_of(config: dict[str, Any], path: str, headers: dict[str, str]) -> dict[str, Any]:
    """The first route that matches, as Envoy takes it."""
    for route in routes(config):
        if matches(route["match"], path, headers):
            return route
    raise AssertionError(f"no route for {path}")


def matches(match: dict[str, Any], path: str, headers: dict[str, str]) -> bool:
    known = {"path", "prefix", "safe_regex", "headers"}
    assert match.keys() <= known, f"the test does not know {match.keys() - known}"
    for wanted in match.get("headers", []):
        value, string = headers.get(wanted["name"], ""), wanted["string_match"]
        if not (value == string.get("exact") or value.startswith(string.get("prefix", "\n"))):
            return False
    if "path" in match:
        return bool(match["path"] == path)
    if "prefix" in match:
        return path.startswith(match["prefix"])
    return re.fullmatch(match["safe_regex"]["regex"], path) is not None


def bindings(method: MethodDescriptor) -> list[tuple[str, str]]:
    """Verb and path template of every REST binding."""
    rule: http_pb2.HttpRule = method.GetOptions().Extensions[annotations_pb2.http]
    found = []
    for each in (rule, *rule.additional_bindings):
        verb = each.WhichOneof("pattern")
        if verb is not None:
            found.append((verb.upper(), getattr(each, verb)))
    return found


def requests(method: MethodDescriptor) -> list[tuple[str, dict[str, str]]]:
    """How the method is asked for: over gRPC, over gRPC-web, and over each REST path."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    kinds = ("application/grpc", "application/grpc-web+proto", "application/grpc-web-text")
    found = [(path, {":method": "POST", "content-type": kind}) for kind in kinds]
    for verb, template in bindings(method):
        filled = re.sub(r"\{[^}]*\}", "01a1fd55-5306-7254-b82c-94e8d6883617", template)
        found.append((filled, {":method": verb, "content-type": "application/json"}))
    return found


# The protos.


def test_the_generated_parts_are_fresh() -> None:
    assert regenerated(TEXT, read_methods()) == TEXT


def test_the_descriptor_set_that_envoy_reads_is_the_generated_code() -> None:
    read = {f"{m.service}.{m.name}": m for m in read_methods()}
    assert read.keys() == METHODS.keys()
    for name, method in METHODS.items():
        assert [(b.verb, b.template) for b in read[name].bindings] == bindings(method)


def test_every_service_is_transcoded(config: dict[str, Any]) -> None:
    listed = http_filter(config, "grpc_json_transcoder")["services"]
    assert listed == sorted(service.full_name for service in all_services())


@pytest.mark.parametrize("name", [method.full_name for method in STREAMS])
def test_every_stream_has_its_routes(config: dict[str, Any], name: str) -> None:
    for path, headers in requests(METHODS[name]):
        route = route_of(config, path, headers)
        action = route["route"]
        assert action["cluster"] == "streams", path
        assert seconds(action["timeout"]) == 0
        assert seconds(action["idle_timeout"]) > HEARTBEAT_SECONDS
        # As for calls, so: only what no server has begun goes to another one.
        assert "retry_policy" not in action
        assert is_unbuffered(route), path


@pytest.mark.parametrize("name", [method.full_name for method in UNARY])
def test_every_deadline_fits_its_route(config: dict[str, Any], name: str) -> None:
    deadline = rule_of(METHODS[name]).deadline
    assert deadline is not None
    for path, headers in requests(METHODS[name]):
        route = route_of(config, path, headers)
        assert route["route"]["cluster"] == "unary", path
        assert seconds(route["route"]["timeout"]) == deadline + MARGIN_SECONDS
        # JSON has a limit here; a gRPC message has the server's own.
        assert is_unbuffered(route) == headers["content-type"].startswith("application/grpc")


def is_unbuffered(route: dict[str, Any]) -> bool:
    filters = route.get("typed_per_filter_config", {})
    return bool(filters.get("envoy.filters.http.buffer", {}).get("disabled"))


def test_a_new_method_needs_no_hand() -> None:
    """A stream with a variable in its path, a slow method, and one like all others."""
    service = "greenroom.things.v1.ThingService"
    watch = Method(
        service, "WatchThing", False, True, None, (Binding("GET", "/v1/things/{thing.id}:watch"),)
    )
    slow = Method(service, "BuildThing", False, False, 90.0, (Binding("POST", "/v1/things:build"),))
    plain = replace(slow, name="GetThing", deadline=None, bindings=())
    config = yaml.safe_load(regenerated(TEXT, [*read_methods(), watch, slow, plain]))
    assert service in http_filter(config, "grpc_json_transcoder")["services"]

    def target(path: str, verb: str = "POST", kind: str = "application/json") -> tuple[str, str]:
        action = route_of(config, path, {":method": verb, "content-type": kind})["route"]
        return action["cluster"], action["timeout"]

    grpc = "application/grpc+proto"
    assert target(f"/{service}/WatchThing", kind=grpc) == ("streams", "0s")
    assert target("/v1/things/a-b:watch", "GET") == ("streams", "0s")
    assert target("/v1/things/a-b:watch", "POST") == ("unary", "32s")
    assert target("/v1/things/a/b:watch", "GET") == ("unary", "32s")
    assert target(f"/{service}/BuildThing", kind=grpc) == ("unary", "92s")
    assert target("/v1/things:build") == ("unary", "92s")
    assert target(f"/{service}/GetThing", kind=grpc) == ("unary", "32s")


# The specification.


def specified() -> dict[tuple[str, str], dict[str, str]]:
    lines = (Path(__file__).parent / "rpcs.tsv").read_text().splitlines()
    head = lines[0].split("\t")
    rows = [dict(zip(head, line.split("\t"), strict=True)) for line in lines[1:]]
    return {(row["service"].lower(), row["name"]): row for row in rows}


def shape(path: str) -> str:
    """A path without the names of its variables, written ``{id}`` or ``:id``."""
    return re.sub(r"\{[^}]*\}|(?<=/):\w+", "{}", path)


def kind(method: MethodDescriptor) -> str:
    kinds = {(False, False): "U", (False, True): "SS", (True, False): "CS", (True, True): "BD"}
    return kinds[method.client_streaming, method.server_streaming]


def test_every_method_is_as_specified() -> None:
    rows = specified()
    built = {(name.split(".")[1], method.name): method for name, method in METHODS.items()}
    assert built.keys() == rows.keys()
    for key, method in built.items():
        row = rows[key]
        wanted = re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (/[^\s,)]+)", row["rest"])
        assert [(verb, shape(path)) for verb, path in bindings(method)] == [
            (verb, shape(path)) for verb, path in wanted
        ], key
        assert kind(method) == row["kind"], key


def test_every_method_lets_in_whom_it_should() -> None:
    letters = {
        "P": policy_pb2.ACCESS_PUBLIC,
        "U": policy_pb2.ACCESS_USER,
        "O": policy_pb2.ACCESS_OWNER,
        "M": policy_pb2.ACCESS_MEMBER,
        "A": policy_pb2.ACCESS_ADMIN,
        "K": policy_pb2.ACCESS_SERVICE,
    }
    for name, method in METHODS.items():
        row = specified()[name.split(".")[1], method.name]
        policy = method.GetOptions().Extensions[policy_pb2.policy]
        wanted = {letters[letter] for letter in row["callers"].split(",")}
        assert set(policy.access) == wanted, name


# What an edge must hold.


def test_who_is_asked_for_is_not_hidden(config: dict[str, Any]) -> None:
    manager = connections(config)
    assert manager["normalize_path"] is True
    assert manager["merge_slashes"] is True
    assert manager["path_with_escaped_slashes_action"] == "REJECT_REQUEST"
    common = manager["common_http_protocol_options"]
    assert common["headers_with_underscores_action"] == "REJECT_REQUEST"


def test_the_callers_address_is_the_peers(config: dict[str, Any]) -> None:
    manager = connections(config)
    assert manager["use_remote_address"] is True
    assert manager.get("xff_num_trusted_hops", 0) == 0


def test_everything_has_a_limit(config: dict[str, Any]) -> None:
    manager = connections(config)
    common, http2 = manager["common_http_protocol_options"], manager["http2_protocol_options"]
    assert seconds(common["idle_timeout"]) == 3600
    assert common["max_headers_count"] <= 100
    assert manager["max_request_headers_kb"] <= 60
    assert http2["initial_stream_window_size"] <= 65536
    assert http2["initial_connection_window_size"] <= 1 << 20
    assert http2["max_concurrent_streams"] <= 1024
    assert seconds(manager["request_headers_timeout"]) <= 10
    assert seconds(manager["stream_idle_timeout"]) <= 303
    assert http_filter(config, "buffer")["max_request_bytes"] == 1 << 20
    monitors = {monitor["name"] for monitor in config["overload_manager"]["resource_monitors"]}
    assert monitors == {
        "envoy.resource_monitors.fixed_heap",
        "envoy.resource_monitors.global_downstream_max_connections",
    }
    actions = {action["name"] for action in config["overload_manager"]["actions"]}
    assert actions >= {
        "envoy.overload_actions.shrink_heap",
        "envoy.overload_actions.stop_accepting_requests",
    }
    (layer,) = config["layered_runtime"]["layers"]
    assert layer["static_layer"]["overload.premature_reset_total_stream_count"] <= 500


def test_readers_that_stall_cannot_starve_others(config: dict[str, Any]) -> None:
    """All that may share a connection to the server have their windows in the connection's."""
    for name, cluster in clusters(config).items():
        (options,) = cluster["typed_extension_protocol_options"].values()
        http2 = options["explicit_http_config"]["http2_protocol_options"]
        window, streams = http2["initial_stream_window_size"], http2["max_concurrent_streams"]
        assert streams * window <= http2["initial_connection_window_size"], name


def test_calls_and_streams_have_breakers_of_their_own(config: dict[str, Any]) -> None:
    found = clusters(config)
    assert found.keys() == {"unary", "streams"}
    settings = load_settings({})
    limits = {"unary": settings.unary_limit, "streams": settings.stream_limit}
    for name, cluster in found.items():
        (threshold,) = cluster["circuit_breakers"]["thresholds"]
        assert threshold.keys() >= {"max_connections", "max_pending_requests", "max_requests"}
        assert threshold["max_requests"] > limits[name]
        assert [check["grpc_health_check"] for check in cluster["health_checks"]] == [{}]
    one, other = (cluster["load_assignment"]["endpoints"] for cluster in found.values())
    assert one == other


def test_traps_of_the_transcoder_are_avoided(config: dict[str, Any]) -> None:
    transcoder = http_filter(config, "grpc_json_transcoder")
    assert transcoder["match_incoming_request_route"] is True
    assert transcoder["convert_grpc_status"] is True
    assert transcoder["print_options"]["stream_newline_delimited"] is True
    assert transcoder["print_options"]["always_print_primitive_fields"] is True
    assert transcoder["max_response_body_size"] >= load_settings({}).message_bytes
    checks = transcoder["request_validation_options"]
    assert checks["reject_unknown_method"] is True
    assert checks["reject_unknown_query_parameters"] is True
    assert not transcoder.get("auto_mapping")
    assert "grpc_timeout_header_max" not in str(config)


def test_pages_see_how_a_call_ended(config: dict[str, Any]) -> None:
    (host,) = connections(config)["route_config"]["virtual_hosts"]
    policy = host["typed_per_filter_config"]["envoy.filters.http.cors"]
    exposed = set(policy["expose_headers"].split(", "))
    assert exposed >= {"grpc-status", "grpc-message", "grpc-status-details-bin"}


def test_what_is_private_is_not_on_the_public_port() -> None:
    grpc = {":method": "POST", "content-type": "application/grpc"}
    reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    assert "admin" not in yaml.safe_load(TEXT)
    assert "route" in route_of(rendered(), reflection, grpc)
    for settings in (PRODUCTION, {**PRODUCTION, "REFLECTION": "true"}, {"REFLECTION": "false"}):
        assert "direct_response" in route_of(rendered(**settings), reflection, grpc)
    for config in (rendered(), rendered(**PRODUCTION)):
        assert "direct_response" in route_of(config, "/grpc.channelz.v1.Channelz/GetServers", grpc)
    admin = rendered(ENVOY_ADMIN_PORT="9901")["admin"]["address"]["socket_address"]
    assert admin == {"address": "127.0.0.1", "port_value": 9901}
    assert rendered(**PRODUCTION)["static_resources"]["listeners"][0]["address"]
    (host,) = connections(rendered(**PRODUCTION))["route_config"]["virtual_hosts"]
    cors = host["typed_per_filter_config"]["envoy.filters.http.cors"]
    assert cors["allow_origin_string_match"] == []


def test_settings_reach_the_configuration() -> None:
    config = rendered(
        HTTP_HOST="0.0.0.0",
        HTTP_PORT="80",
        GRPC_HOST="servers.internal",
        GRPC_PORT="5000",
        UNARY_DEADLINE_SECONDS="7.5",
        STREAM_HEARTBEAT_SECONDS="120",
        CORS_ORIGINS="https://app.example.com,http://localhost:*",
    )
    (listener,) = config["static_resources"]["listeners"]
    assert listener["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 80}
    for cluster in clusters(config).values():
        ((endpoint,),) = [e["lb_endpoints"] for e in cluster["load_assignment"]["endpoints"]]
        address = endpoint["endpoint"]["address"]["socket_address"]
        assert address == {"address": "servers.internal", "port_value": 5000}
        assert cluster["cluster_type"]["name"] == "envoy.cluster.strict_dns"
    rest = route_of(config, "/v1/auth/me", {":method": "GET"})["route"]
    assert seconds(rest["timeout"]) == 9.5
    watch = route_of(config, "/v1/chat:watch", {":method": "GET"})["route"]
    assert seconds(watch["idle_timeout"]) > 120
    (host,) = connections(config)["route_config"]["virtual_hosts"]
    cors = host["typed_per_filter_config"]["envoy.filters.http.cors"]
    origins = cors["allow_origin_string_match"]
    assert {"exact": "https://app.example.com"} in origins
    (pattern,) = [each["safe_regex"]["regex"] for each in origins if "safe_regex" in each]
    assert re.fullmatch(pattern, "http://localhost:5173")
    assert not re.fullmatch(pattern, "http://localhost.example.com:5173")
