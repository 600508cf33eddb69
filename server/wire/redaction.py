"""Makes a request fit for a log line: every field marked ``secret`` is blotted out."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from server.wire.policies import fields_below, is_secret

REDACTED = "[redacted]"
LONGEST_VALUE = 256
"""Characters of a logged string; longer ones are cut, so that a line stays a line."""


@lru_cache(maxsize=4096)
def _has_secret(message: Descriptor) -> bool:
    return any(is_secret(field) for field in fields_below(message))


def redacted(message: Message) -> dict[str, Any]:
    """The message as JSON-ready values without its secrets.

    Works on the JSON form rather than on a copy of the message, so that a secret in an unknown
    field cannot slip through: unknown fields have no JSON form.
    """
    try:
        values = json_format.MessageToDict(message, preserving_proto_field_name=True)
    except json_format.SerializeToJsonError:
        # A time or a mask that no JSON can say: the call is refused, and its line is still written.
        return {"unprintable": message.DESCRIPTOR.full_name}
    descriptor: Any = message.DESCRIPTOR
    return _walk(descriptor, values)


def _walk(descriptor: Descriptor, values: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, value in values.items():
        field = descriptor.fields_by_name.get(name)
        if field is None:
            shown[name] = _cut(value)
        elif is_secret(field):
            shown[name] = REDACTED
        elif field.message_type is not None and _has_secret(field.message_type):
            shown[name] = _walk_value(field.message_type, value)
        else:
            shown[name] = _cut(value)
    return shown


def _walk_value(descriptor: Descriptor, value: Any) -> Any:
    if isinstance(value, list):
        return [_walk_value(descriptor, item) for item in value]
    if isinstance(value, dict):
        if descriptor.GetOptions().map_entry:
            inner = descriptor.fields_by_name["value"].message_type
            assert inner is not None, "a map of plain values holds no secret field"
            return {key: _walk_value(inner, item) for key, item in value.items()}
        return _walk(descriptor, value)
    return _cut(value)


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST_VALUE:
        return value[:LONGEST_VALUE] + f"... ({len(value)} characters)"
    if isinstance(value, list):
        return [_cut(item) for item in value[:20]]
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in list(value.items())[:50]}
    return value
