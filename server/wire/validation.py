"""Decodes and validates requests: wrong bytes and broken field rules become INVALID_ARGUMENT."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NoReturn

import protovalidate
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from buf.validate import validate_pb2
from server.core.errors import FieldViolation, InvalidArgument
from server.wire.policies import MethodKind, MethodRule, is_secret

MOST_VIOLATIONS = 32
"""Violations told in one answer; a request with a thousand wrong items gets the first ones."""

CANCELLATION_SECONDS = 0.05
"""How much later than the end of its requests the news may come that a call was cancelled."""

_ONE_REQUEST = (MethodKind.UNARY, MethodKind.SERVER_STREAM)

_validator = protovalidate.Validator()


class Undecodable(InvalidArgument):
    """The bytes are not the request message."""

    reason = "WIRE_ERROR_REASON_UNDECODABLE"
    message = "The request is not a {message}."


class RequestMissing(InvalidArgument):
    """The call ended where its one request was due."""

    reason = "WIRE_ERROR_REASON_REQUEST_MISSING"
    message = "The call ended without a {message}."


async def request_missing(rule: MethodRule) -> NoReturn:
    """Refuses a call whose requests ended before the first one. A cancelled call, or one whose request
    is too large, looks the same for a moment; those end here by their cancellation."""
    await asyncio.sleep(CANCELLATION_SECONDS)
    raise RequestMissing(message=rule.request.DESCRIPTOR.full_name)


def decoder(rule: MethodRule) -> Callable[[bytes], Message]:
    """What makes the requests of a method of their bytes, decoded and valid."""
    parse = rule.request.FromString
    # The commands of a stream are answered one by one, so their servicers look for U+0000.
    looks_for_nul = rule.kind in _ONE_REQUEST
    validated = rule.validated
    # Nothing can be set in a message without fields, so one serves all calls.
    empty = rule.request()
    fieldless = not rule.request.DESCRIPTOR.fields and not validated

    def decode(raw: bytes) -> Message:
        if fieldless and not raw:
            return empty
        try:
            request = parse(raw)
        except (DecodeError, UnicodeDecodeError, ValueError):
            raise Undecodable(message=rule.request.DESCRIPTOR.full_name) from None
        if validated:
            _validate(request)
        # In the bytes first: hardly any request has a zero byte at all.
        if looks_for_nul and b"\0" in raw:
            _check_storable(request)
        return request

    return decode


def _check_storable(request: Message) -> None:
    """Refuses texts that hold U+0000: PostgreSQL takes none, not even to compare with, and SQLite
    does. Secrets may: they are hashed before anybody looks for them."""
    found = [
        FieldViolation(path, "holds the character U+0000")
        for path in islice(_texts_with_nul(request, ""), MOST_VIOLATIONS)
    ]
    if found:
        raise InvalidArgument(violations=found)


def _texts_with_nul(message: Message, above: str) -> Iterator[str]:
    for field, value in message.ListFields():
        if is_secret(field):
            continue
        for path, item in _items_of(field, value, f"{above}{field.name}"):
            if isinstance(item, Message):
                yield from _texts_with_nul(item, f"{path}.")
            elif isinstance(item, str) and "\0" in item:
                yield path


def _items_of(field: FieldDescriptor, value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not field.is_repeated:
        yield path, value
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        for key, item in value.items():
            yield path, key
            yield f"{path}{_subscript(key)}", item
    else:
        for number, item in enumerate(value):
            yield f"{path}[{number}]", item


def _validate(request: Message) -> None:
    violations = _validator.collect_violations(request)
    if violations:
        raise InvalidArgument(
            violations=[
                FieldViolation(_path(request, violation), violation.proto.message or "is not valid")
                for violation in violations[:MOST_VIOLATIONS]
            ]
        )


def _path(request: Message, violation: "protovalidate.Violation") -> str:
    """The field's path in the form that BadRequest uses: ``cursors[3].channel_id``."""
    parts: list[str] = []
    path = violation.proto.field
    if path is None or not path.elements:
        return _field_of_rule(request, violation.proto.rule_id, violation.proto.message)
    for element in path.elements:
        name = element.field_name
        subscript = element.subscript
        if subscript is not None:
            name += _subscript(subscript.value)
        parts.append(name)
    return ".".join(parts)


def _field_of_rule(request: Message, rule_id: str, text: str) -> str:
    """The field at which a rule of the whole message is told: of fields that exclude each other the last
    one that is set, else the one that the rule's id ends with (a contract test holds them to that)."""
    rules = request.DESCRIPTOR.GetOptions().Extensions[validate_pb2.message]
    for rule in rules.oneof:
        if rule_id == "message.oneof" and ", ".join(rule.fields) in text:
            given = {field.name for field, _ in request.ListFields()}
            return ([name for name in rule.fields if name in given] or rule.fields)[-1]
    return rule_id.rpartition(".")[2]


def _subscript(value: int | bool | str) -> str:
    if isinstance(value, str):
        return f"[{value[:100]!r}]"
    return f"[{str(value).lower()}]"
