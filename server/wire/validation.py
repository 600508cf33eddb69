"""Decodes and validates requests: wrong bytes and broken field rules become INVALID_ARGUMENT."""

import protovalidate
from google.protobuf.message import DecodeError, Message

from server.core.errors import FieldViolation, InvalidArgument
from server.wire.policies import MethodRule

MOST_VIOLATIONS = 32
"""Violations told in one answer; a request with a thousand wrong items gets the first ones."""

_validator = protovalidate.Validator()


class Undecodable(InvalidArgument):
    """The bytes are not the request message."""

    reason = "WIRE_ERROR_REASON_UNDECODABLE"
    message = "The request is not a {message}."


def decoded(rule: MethodRule, raw: bytes) -> Message:
    """The request, decoded and valid."""
    try:
        request = rule.request.FromString(raw)
    except (DecodeError, UnicodeDecodeError, ValueError):
        raise Undecodable(message=rule.request.DESCRIPTOR.full_name) from None
    if rule.validated:
        _validate(request)
    return request


def _validate(request: Message) -> None:
    violations = _validator.collect_violations(request)
    if violations:
        raise InvalidArgument(
            violations=[
                FieldViolation(_path(violation), violation.proto.message or "is not valid")
                for violation in violations[:MOST_VIOLATIONS]
            ]
        )


def _path(violation: "protovalidate.Violation") -> str:
    """The field's path in the form that BadRequest uses: ``cursors[3].channel_id``."""
    parts: list[str] = []
    path = violation.proto.field
    for element in () if path is None else path.elements:
        name = element.field_name
        subscript = element.subscript
        if subscript is not None:
            name += _subscript(subscript.value)
        parts.append(name)
    return ".".join(parts)


def _subscript(value: int | bool | str) -> str:
    if isinstance(value, str):
        return f"[{value[:100]!r}]"
    return f"[{str(value).lower()}]"
