"""The parts of ``envoy.yaml`` that follow from the protos (services, streaming routes, deadlines) and
from the pages in ``pages/``.

``python -m server.edge.routes --write`` brings the file up to date, ``--check`` says whether it is.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2

from greenroom.options.v1 import policy_pb2
from server.core.config import load_settings
from server.edge.margins import HEARTBEAT_MARGIN_SECONDS, IDLE_SECONDS, MARGIN_SECONDS
from server.edge.pages import page_routes

CONFIG = Path(__file__).resolve().parents[2] / "envoy.yaml"
"""The checked-in configuration."""

_UNBUFFERED = (
    "typed_per_filter_config: {envoy.filters.http.buffer: "
    '{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}'
)
_BLOCK = re.compile(
    r"(?P<begin>^(?P<indent> *)# --- generated: (?P<name>[a-z]+) ---\n)"
    r".*?(?P<end>^ *# --- end ---\n)",
    re.MULTILINE | re.DOTALL,
)
_VARIABLE = re.compile(r"\{[a-z_.]+(?:=(?P<pattern>[^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Binding:
    """One REST path of a method: the verb, and the template such as ``/v1/users/{user_id}``."""

    verb: str
    template: str

    @property
    def is_literal(self) -> bool:
        """True for a path without variables."""
        return "{" not in self.template

    @property
    def regex(self) -> str:
        """Matches the whole path; a variable is a segment, and the last one ends before a verb."""
        parts: list[str] = []
        end = 0
        for found in _VARIABLE.finditer(self.template):
            parts.append(re.escape(self.template[end : found.start()]))
            parts.append(_segments(found["pattern"] or "*"))
            end = found.end()
        parts.append(re.escape(self.template[end:]))
        return "".join(parts)


def _segments(pattern: str) -> str:
    """The regex of what a variable may hold; ``*`` is one segment, ``**`` the rest of the path."""
    pieces = {"**": ".+", "*": "[^/:]+"}
    return "".join(pieces.get(piece, re.escape(piece)) for piece in re.split(r"(\*\*|\*)", pattern))


@dataclass(frozen=True, slots=True)
class Method:
    """What the edge must know of a method; ``deadline`` in seconds, if its policy names one."""

    service: str
    name: str
    client_streaming: bool
    server_streaming: bool
    deadline: float | None
    bindings: tuple[Binding, ...]

    @property
    def path(self) -> str:
        """Its path over gRPC."""
        return f"/{self.service}/{self.name}"

    @property
    def is_stream(self) -> bool:
        """True unless it takes one message and answers with one."""
        return self.client_streaming or self.server_streaming


def read_methods(descriptors: bytes | None = None) -> list[Method]:
    """Every method of our services, in the order of the descriptor set (the packaged one)."""
    if descriptors is None:
        descriptors = files("greenroom").joinpath("descriptors.binpb").read_bytes()
    found = descriptor_pb2.FileDescriptorSet.FromString(descriptors)
    return [
        _method(f"{file.package}.{service.name}", method)
        for file in found.file
        if file.package.startswith("greenroom.")
        for service in file.service
        for method in service.method
    ]


def _method(service: str, method: descriptor_pb2.MethodDescriptorProto) -> Method:
    policy = method.options.Extensions[policy_pb2.policy]
    rule = method.options.Extensions[annotations_pb2.http]
    return Method(
        service=service,
        name=method.name,
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        deadline=policy.deadline.ToNanoseconds() / 1e9 if policy.HasField("deadline") else None,
        bindings=tuple(_binding(each) for each in (rule, *rule.additional_bindings) if _verb(each)),
    )


def _verb(rule: http_pb2.HttpRule) -> str:
    return rule.WhichOneof("pattern") or ""


def _binding(rule: http_pb2.HttpRule) -> Binding:
    if _verb(rule) == "custom":
        return Binding(rule.custom.kind, rule.custom.path)
    return Binding(_verb(rule).upper(), getattr(rule, _verb(rule)))


def regenerated(text: str, methods: list[Method]) -> str:
    """``text`` with every generated block as ``methods`` want it."""
    blocks = {
        "services": _services(methods),
        "streams": _streams(methods),
        "deadlines": _deadlines(methods),
        "pages": list(page_routes()),
    }
    met: list[str] = []

    def fill(block: re.Match[str]) -> str:
        met.append(block["name"])
        lines = blocks[block["name"]]
        body = "".join(f"{block['indent']}{line}\n" for line in lines)
        return f"{block['begin']}{body}{block['end']}"

    filled = _BLOCK.sub(fill, text)
    if sorted(met) != sorted(blocks):
        raise ValueError(f"envoy.yaml has the generated blocks {met}, not {list(blocks)}")
    return filled


def _services(methods: list[Method]) -> list[str]:
    names = dict.fromkeys(method.service for method in methods)
    return ["services:", *(f"  - {name}" for name in sorted(names))]


def _streams(methods: list[Method]) -> list[str]:
    quiet = load_settings({}).stream_heartbeat_seconds + HEARTBEAT_MARGIN_SECONDS
    action = f"route: {{cluster: streams, timeout: 0s, idle_timeout: {quiet:g}s}}"
    return [
        line
        for method in methods
        if method.is_stream
        for line in _routes(method, "stream", action, unbuffered_rest=True)
    ]


def _deadlines(methods: list[Method]) -> list[str]:
    return [
        line
        for method in methods
        if not method.is_stream and method.deadline is not None
        for line in _routes(
            method,
            "deadline",
            _unary_action(method.deadline + MARGIN_SECONDS),
            unbuffered_rest=False,
        )
    ]


def _unary_action(seconds: float) -> str:
    """Nothing passes while the server works, so the idle timeout must not be the shorter one."""
    idle = f", idle_timeout: {seconds + 1:g}s" if seconds + 1 > IDLE_SECONDS else ""
    return f"route: {{cluster: unary, timeout: {seconds:g}s{idle}}}"


def _routes(method: Method, name: str, action: str, *, unbuffered_rest: bool) -> Iterator[str]:
    """The routes of a method over gRPC and over each REST path, as lines of YAML."""
    yield f"- name: {name}"
    yield f'  match: {{path: "{method.path}"}}'
    yield f"  {action}"
    yield f"  {_UNBUFFERED}"
    for binding in method.bindings:
        where = (
            f'path: "{binding.template}"'
            if binding.is_literal
            else f"safe_regex: {{regex: '{binding.regex}'}}"
        )
        verb = f'headers: [{{name: ":method", string_match: {{exact: {binding.verb}}}}}]'
        yield f"- name: {name}"
        yield f"  match: {{{where}, {verb}}}"
        yield f"  {action}"
        if unbuffered_rest:
            yield f"  {_UNBUFFERED}"


def main(arguments: list[str]) -> int:
    """Writes or checks the file; returns the exit status."""
    if arguments not in (["--write"], ["--check"]):
        print("usage: python -m server.edge.routes --write | --check", file=sys.stderr)
        return 2
    text = CONFIG.read_text(encoding="utf-8")
    fresh = regenerated(text, read_methods())
    if fresh == text:
        return 0
    if arguments == ["--check"]:
        print("envoy.yaml is not what the protos say; run `make generate`", file=sys.stderr)
        return 1
    CONFIG.write_text(fresh, encoding="utf-8")
    print("wrote envoy.yaml")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
