"""One gRPC service and what implements it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

from server.wire.policies import ContractError

SERIALIZABLE = "__serializable__"
"""Attribute that :func:`serializable` leaves on a method."""

F = TypeVar("F", bound=Callable[..., Any])


class ProtoFile(Protocol):
    """A generated ``_pb2`` module."""

    DESCRIPTOR: FileDescriptor


@dataclass(frozen=True, slots=True)
class Service:
    """A service descriptor with the servicer whose methods carry the names of its RPCs."""

    descriptor: ServiceDescriptor
    servicer: object

    @classmethod
    def of(cls, file: "ProtoFile", servicer: object) -> "Service":
        """The one service of a proto file (its ``_pb2`` module), with what serves it."""
        (descriptor,) = file.DESCRIPTOR.services_by_name.values()
        return cls(descriptor, servicer)

    def method(self, name: str) -> Callable[..., Any]:
        """The servicer's method for an RPC; ``ContractError`` when there is none."""
        method = getattr(self.servicer, name, None)
        if not callable(method):
            raise ContractError(
                f"{self.descriptor.full_name}.{name}: "
                f"{type(self.servicer).__name__} has no such method"
            )
        return method  # type: ignore[no-any-return]


def serializable(method: F) -> F:
    """Marks a plain ``def`` servicer method whose unit runs at SERIALIZABLE and is retried whole.

    For money and orders. The method must have no effect outside its unit.
    """
    setattr(method, SERIALIZABLE, True)
    return method
