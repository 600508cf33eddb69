"""The probe service: methods that do, on demand, whatever the tests of the wire need."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from server.core.errors import FailedPrecondition, Refused
from server.wire.call import Call
from server.wire.service import Service
from tests.support.protos import compiled

FILE = compiled(Path(__file__).with_name("probe.proto"))
SERVICE: ServiceDescriptor = FILE.services_by_name["ProbeService"]
ProbeRequest: Any = GetMessageClass(FILE.message_types_by_name["ProbeRequest"])
ProbeResponse: Any = GetMessageClass(FILE.message_types_by_name["ProbeResponse"])
Item: Any = GetMessageClass(FILE.message_types_by_name["Item"])


class ProbeFailed(FailedPrecondition):
    """A failure that the tests ask for."""

    reason = "PROBE_FAILED"
    message = "The probe failed with {text}."


class Probe:
    """Implements the service; counts its effects in memory and through audit rows."""

    def __init__(self) -> None:
        self.effects = 0
        self.hanging = threading.Event()
        self.streams_ended: list[str] = []

    def service(self) -> Service:
        """This probe as a service to register."""
        return Service(SERVICE, self)

    def Read(self, request: Any, call: Call) -> Any:
        return ProbeResponse(text=request.text, number=int(call.unit.now.timestamp()))

    def Write(self, request: Any, call: Call) -> Any:
        self.effects += 1
        call.unit.audit("probe.write", resource=request.text)
        return ProbeResponse(text=request.text, number=self.effects)

    def Refuse(self, request: Any, call: Call) -> Any:
        call.unit.audit("probe.refuse", resource=request.text)
        return Refused(ProbeFailed(text=request.text))

    def Fail(self, request: Any, call: Call) -> Any:
        call.unit.audit("probe.fail", resource=request.text)
        if request.text == "foreseen":
            raise ProbeFailed(text=request.text)
        raise ValueError(f"secret={request.password} SELECT * FROM users")

    async def Hang(self, request: Any, call: Call) -> Any:
        await asyncio.Event().wait()

    def HangInUnit(self, request: Any, call: Call) -> Any:
        call.unit.audit("probe.hang", resource=request.text)
        assert self.hanging.wait(10)
        return ProbeResponse()

    def StaffOnly(self, request: Any, call: Call) -> Any:
        return ProbeResponse(text="staff")

    def StepUp(self, request: Any, call: Call) -> Any:
        return ProbeResponse(text="stepped up")

    async def Watch(self, request: Any, call: Call) -> AsyncIterator[Any]:
        for number in range(request.count):
            yield ProbeResponse(text=request.text, number=number)
        if request.text == "fail":
            raise ProbeFailed(text="the middle")
        reason = await call.closing.wait()
        self.streams_ended.append(reason)
        yield ProbeResponse(text=reason)

    async def Collect(self, requests: AsyncIterator[Any], call: Call) -> Any:
        texts = [request.text async for request in requests]
        return ProbeResponse(text=",".join(texts), number=len(texts))

    async def Talk(self, requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:
        async for request in requests:
            yield ProbeResponse(text=request.text)


class ProbeStub:
    """What protoc would generate: callables on a channel."""

    def __init__(self, channel: aio.Channel) -> None:
        kinds = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }
        for method in SERVICE.methods:
            make: Any = kinds[(method.client_streaming, method.server_streaming)]
            callable_ = make(
                f"/{SERVICE.full_name}/{method.name}",
                request_serializer=_serialized,
                response_deserializer=ProbeResponse.FromString,
            )
            setattr(self, method.name, callable_)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def _serialized(request: Any) -> bytes:
    """Messages are encoded; bytes go out as they are, so that wrong ones can be sent."""
    return request if isinstance(request, bytes) else request.SerializeToString()
