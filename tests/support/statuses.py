"""Reads the details of an error as a client would."""

from collections.abc import Awaitable

import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode, aio


def _detail(error: aio.AioRpcError, kind: type) -> object | None:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)  # type: ignore[arg-type]
            assert status.code == error.code().value[0]
            for detail in status.details:
                message = kind()
                if detail.Unpack(message):
                    return message  # type: ignore[no-any-return]
    return None


def reason_of(error: aio.AioRpcError) -> str:
    """``ErrorInfo.reason``; empty when there is none."""
    info = _detail(error, error_details_pb2.ErrorInfo)
    return info.reason if isinstance(info, error_details_pb2.ErrorInfo) else ""


def field_names(error: aio.AioRpcError) -> list[str]:
    """The fields that ``BadRequest`` names."""
    bad = _detail(error, error_details_pb2.BadRequest)
    if not isinstance(bad, error_details_pb2.BadRequest):
        return []
    return [violation.field for violation in bad.field_violations]


def request_id_of(error: aio.AioRpcError) -> str:
    """``RequestInfo.request_id``; empty when there is none."""
    info = _detail(error, error_details_pb2.RequestInfo)
    return info.request_id if isinstance(info, error_details_pb2.RequestInfo) else ""


def retry_after_of(error: aio.AioRpcError) -> float | None:
    """Seconds of ``RetryInfo``; ``None`` when there is none."""
    info = _detail(error, error_details_pb2.RetryInfo)
    if not isinstance(info, error_details_pb2.RetryInfo):
        return None
    return info.retry_delay.seconds + info.retry_delay.nanos / 1e9


async def failure_of(call: Awaitable[object]) -> aio.AioRpcError:
    """The error that a call ends with."""
    with pytest.raises(aio.AioRpcError) as raised:
        await call
    return raised.value


async def refused(call: Awaitable[object], code: StatusCode, reason: str) -> aio.AioRpcError:
    """Holds a call to its documented error."""
    error = await failure_of(call)
    assert (error.code(), reason_of(error)) == (code, reason)
    return error


async def code_of(call: Awaitable[object]) -> StatusCode:
    """The code that a call ends with."""
    try:
        await call
    except aio.AioRpcError as error:
        return error.code()
    return StatusCode.OK
