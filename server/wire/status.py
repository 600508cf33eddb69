"""The one place that turns an error into a gRPC status."""

from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from server.core.errors import GreenroomError

DOMAIN = "greenroom"
"""``ErrorInfo.domain`` of every error."""

_DETAILS_KEY = "grpc-status-details-bin"
_CODES = {code.name: code for code in grpc.StatusCode}


class InternalError(GreenroomError):
    """Something unforeseen; the request id finds the log record, and nothing else is told."""

    message = "The server met an unforeseen error; its reference is {request_id}."


async def abort(
    context: "aio.ServicerContext[Any, Any]", error: GreenroomError, request_id: str
) -> None:
    """Ends the call with the error's status; raises, as grpcio's own ``abort`` does."""
    code = _CODES[error.code]
    status = status_of(error, request_id)
    await context.abort(
        code,
        status.message,
        trailing_metadata=(
            (_DETAILS_KEY, status.SerializeToString()),
            ("x-request-id", request_id),
        ),
    )


def status_of(error: GreenroomError, request_id: str) -> status_pb2.Status:
    """``google.rpc.Status`` with ``ErrorInfo``, ``RequestInfo`` and, where they apply,
    ``BadRequest`` and ``RetryInfo`` (google/rpc/error_details.proto, AIP-193)."""
    details: list[Any] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata),
        error_details_pb2.RequestInfo(request_id=request_id),
    ]
    if error.violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=violation.field, description=violation.description
                    )
                    for violation in error.violations
                ]
            )
        )
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(error.retry_after * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=_CODES[error.code].value[0], message=error.text)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status
