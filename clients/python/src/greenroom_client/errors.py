"""Reads what Greenroom says about an error: its reason, the fields at fault, when to come back."""

from collections.abc import Iterator
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from greenroom.auth.v1 import sign_in_pb2

M = TypeVar("M", bound=Message)


class SecondFactorNeeded(Exception):
    """The first factor was right, and the account has a second one: ``Client.complete_mfa`` goes on
    with ``challenge``, which says what the account can prove itself with and until when."""

    def __init__(self, challenge: sign_in_pb2.MfaChallenge) -> None:
        super().__init__("The account has a second factor; complete_mfa goes on.")
        self.challenge = challenge


def reason_of(error: grpc.RpcError) -> str:
    """The stable reason, such as ``AUTH_ERROR_REASON_BAD_CREDENTIALS``; empty when Greenroom gave none."""
    for info in _details(error, error_details_pb2.ErrorInfo):
        reason: str = info.reason
        return reason
    return ""


def violations_of(error: grpc.RpcError) -> dict[str, str]:
    """What is wrong with which field, by the field's path."""
    return {
        violation.field: violation.description
        for bad in _details(error, error_details_pb2.BadRequest)
        for violation in bad.field_violations
    }


def retry_after_of(error: grpc.RpcError) -> float | None:
    """Seconds to wait before trying again, when the server says so."""
    for info in _details(error, error_details_pb2.RetryInfo):
        seconds: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
        return seconds
    return None


def request_id_of(error: grpc.RpcError) -> str:
    """The id that finds the call in the server's log."""
    for info in _details(error, error_details_pb2.RequestInfo):
        request_id: str = info.request_id
        return request_id
    return ""


def _details(error: grpc.RpcError, kind: type[M]) -> Iterator[M]:
    trailing = getattr(error, "trailing_metadata", lambda: None)()
    for key, value in trailing or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                message = kind()
                if detail.Unpack(message):
                    yield message
