"""Secrets that can be found again wherever they turn up, and what carries them into a call."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.core.ids import new_id, new_secret
from server.wire.policies import is_secret
from tests.support.services import all_methods

CODE = "904817"
"""Where only six digits are taken; looked for standing alone."""

Path = tuple[FieldDescriptor, ...]


def secret_paths(message: Descriptor, before: Path = ()) -> Iterator[Path]:
    """The way to each secret field of a message."""
    for one in message.fields:
        way = (*before, one)
        if is_secret(one):
            yield way
        elif one.message_type is not None and one not in before:
            yield from secret_paths(one.message_type, way)


def secret_inputs() -> list[tuple[MethodDescriptor, Path]]:
    """Every secret that a request can bring, with the method that takes it."""
    return [(method, way) for method in all_methods() for way in secret_paths(method.input_type)]


def named(message: str, way: Path) -> str:
    """``LogIn.password``"""
    return f"{message}.{'.'.join(one.name for one in way)}"


@dataclass
class Canaries:
    """Secrets by kind, and what was told to callers."""

    values: list[tuple[str, str]] = field(default_factory=list)
    told: list[bytes] = field(default_factory=list)

    @property
    def kinds(self) -> set[str]:
        """What kinds of secrets there were; two of one kind count once."""
        return {kind for kind, _ in self.values}

    def new(self, kind: str) -> str:
        """A secret that nobody else has."""
        value = f"Canary-{new_secret(20)}"
        self.add(kind, value)
        return value

    def add(self, kind: str, *values: str) -> None:
        """Takes secrets that the server made."""
        assert all(len(value) >= 6 for value in values), kind
        self.values += [(kind, value) for value in values]

    def gave(self, reply: Message) -> None:
        """Takes the secrets of a reply."""
        descriptor: Any = reply.DESCRIPTOR
        for way in secret_paths(descriptor):
            self.add(named(descriptor.name, way), *filter(None, _values(reply, way)))

    def found_in(self, text: str) -> list[str]:
        """The kinds of which something stands in a text."""
        return sorted({kind for kind, value in self.values if value in text})


def _values(message: Any, way: Path) -> Iterator[str]:
    one, *rest = way
    if not rest:
        value = getattr(message, one.name)
        yield from value if one.is_repeated else [value]
    elif one.is_repeated:
        for inner in getattr(message, one.name):
            yield from _values(inner, tuple(rest))
    elif message.HasField(one.name):
        yield from _values(getattr(message, one.name), tuple(rest))


def variants(method: MethodDescriptor, way: Path, value: str) -> Iterator[bytes]:
    """Amid good fields, as a code, too long, beside a field that we do not know, and in bytes that
    are no message."""
    raw = value.encode()
    request = filled(method, way, value).SerializeToString()
    yield request
    yield filled(method, way, CODE).SerializeToString()
    yield filled(method, way, value * 500).SerializeToString()
    yield request + unknown_field(raw)
    yield b"\xff" + raw
    yield request[:-1] + b"\xff\xff"


def unknown_field(raw: bytes) -> bytes:
    """A field 2047 of at most 127 bytes, which no message of ours has."""
    return b"\xfa\x7f" + bytes([len(raw)]) + raw


def filled(method: MethodDescriptor, way: Path, value: str) -> Message:
    """A request that is good as far as can be told from its fields, with the secret in its place."""
    request: Any = GetMessageClass(method.input_type)()
    _fill(request, way[0].name if len(way) == 1 else "")
    holder = request
    for one in way[:-1]:
        holder = getattr(holder, one.name)
        if one.is_repeated:
            holder = holder.add()
    last = way[-1]
    if last.is_repeated:
        getattr(holder, last.name).append(value)
    else:
        raw = last.type == FieldDescriptor.TYPE_BYTES
        setattr(holder, last.name, value.encode() if raw else value)
    return request  # type: ignore[no-any-return]


def _fill(message: Any, left_out: str) -> None:
    for one in message.DESCRIPTOR.fields:
        inside_oneof = one.containing_oneof is not None and one.name != "email"
        if one.is_repeated or inside_oneof or one.name == left_out:
            continue
        if one.type == FieldDescriptor.TYPE_MESSAGE:
            if one.message_type.full_name.startswith("greenroom."):
                _fill(getattr(message, one.name), "")
        elif one.type == FieldDescriptor.TYPE_STRING:
            setattr(message, one.name, _plausible(one))
        elif one.type == FieldDescriptor.TYPE_ENUM:
            setattr(message, one.name, 1)


def _plausible(one: FieldDescriptor) -> str:
    if is_secret(one):
        return "another secret that is good"
    if "email" in one.name:
        return "somebody@example.com"
    if one.name in ("id", "request_id") or one.name.endswith("_id"):
        return new_id()
    return {"language": "en", "provider": "google"}.get(one.name, "")
