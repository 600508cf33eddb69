"""Hypothesis strategies for any message, from its descriptor: mostly wrong, now and then right."""

from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

_TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            "\0",
            "a" * 5000,
            "\U0001f600" * 300,
            "01890000-0000-7000-8000-000000000001",
            "nobody@example.com",
            "+4912345678",
            "'; DROP TABLE users; --",
            "../../etc/passwd",
            "dev-0.AAAA",
            "%s%n",
        ]
    ),
)
_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    # Numbers that no value of the enum has are what an old or a hostile client sends.
    FieldDescriptor.CPPTYPE_ENUM: st.integers(-(2**31), 2**31 - 1) | st.integers(0, 6),
}


T = TypeVar("T")


def examples(strategy: st.SearchStrategy[T], count: int) -> list[T]:
    """Up to so many, the same ones at every run: calls are awaited, which Hypothesis cannot do itself."""
    found: list[T] = []

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: T) -> None:
        found.append(example)

    collect()
    return found


def messages(descriptor: Descriptor, depth: int = 3) -> st.SearchStrategy[Message]:
    """Messages of a type with any of its fields set to anything that the wire can carry."""
    return st.builds(
        lambda values: _filled(descriptor, values),
        st.fixed_dictionaries({}, optional=_fields(descriptor, depth)),
    )


def _fields(descriptor: Descriptor, depth: int) -> dict[str, st.SearchStrategy[Any]]:
    found = {}
    for field in descriptor.fields:
        if field.message_type is not None and depth == 0:
            continue
        value = _value(field, depth)
        found[field.name] = st.lists(value, max_size=4) if field.is_repeated else value
    return found


def _value(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        assert field.message_type is not None
        return messages(field.message_type, depth - 1)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return st.binary(max_size=20) if field.type == FieldDescriptor.TYPE_BYTES else _TEXTS
    return _NUMBERS[field.cpp_type]


def _filled(descriptor: Descriptor, values: dict[str, Any]) -> Message:
    message: Message = GetMessageClass(descriptor)()
    for name, value in values.items():
        field = descriptor.fields_by_name[name]
        if field.is_repeated:
            getattr(message, name).extend(value)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            getattr(message, name).CopyFrom(value)
        else:
            setattr(message, name, value)
    return message
