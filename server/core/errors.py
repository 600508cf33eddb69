"""The errors that travel up to the wire, which alone turns them into a gRPC status.

A module names each of its failures once, as a subclass with a ``reason`` (a value of the module's
``ErrorReason`` enum) and a ``message`` template, and raises it with the template's values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of the request that breaks a rule; ``field`` is a path such as ``user.email``."""

    field: str
    description: str


class GreenroomError(Exception):
    """A failure that the caller is told about: status code, stable reason, message, field paths.

    ``retry_after`` (seconds) is sent as ``google.rpc.RetryInfo``. Values given for the message
    template are sent as ``ErrorInfo.metadata``, so none of them may be a secret.
    """

    code: ClassVar[str] = "INTERNAL"
    reason: ClassVar[str] = "WIRE_ERROR_REASON_INTERNAL"
    message: ClassVar[str] = "The server met an unforeseen error."

    def __init__(
        self,
        *,
        field: str = "",
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
        **values: object,
    ) -> None:
        self.metadata = {name: str(value) for name, value in values.items()}
        self.text = self.message.format_map(self.metadata)
        self.violations = tuple(violations) or (
            (FieldViolation(field, self.text),) if field else ()
        )
        self.retry_after = retry_after
        super().__init__(self.text)


class InvalidArgument(GreenroomError):
    """The request is wrong whatever the state of the system."""

    code = "INVALID_ARGUMENT"
    reason = "WIRE_ERROR_REASON_INVALID_FIELD"
    message = "The request is not valid."


class NotFound(GreenroomError):
    """There is no such thing, or the caller cannot see it: the same answer for both."""

    code = "NOT_FOUND"
    reason = "WIRE_ERROR_REASON_NOT_FOUND"
    message = "Not found."


class AlreadyExists(GreenroomError):
    """What should be made exists."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(GreenroomError):
    """The state of the system does not allow it; retrying does not help until that changes."""

    code = "FAILED_PRECONDITION"


class PermissionDenied(GreenroomError):
    """The caller sees the thing and may not do this to it."""

    code = "PERMISSION_DENIED"
    reason = "WIRE_ERROR_REASON_ACCESS_DENIED"
    message = "The caller may not do this."


class Unauthenticated(GreenroomError):
    """The caller is not known."""

    code = "UNAUTHENTICATED"
    reason = "WIRE_ERROR_REASON_CREDENTIALS_INVALID"
    message = "The credentials are not valid."


class ResourceExhausted(GreenroomError):
    """A limit was reached; ``retry_after`` says when to come back."""

    code = "RESOURCE_EXHAUSTED"
    reason = "WIRE_ERROR_REASON_OVERLOADED"
    message = "The server is busy; try again in a moment."


class Aborted(GreenroomError):
    """A concurrent change got in the way; the caller may read again and retry."""

    code = "ABORTED"
    reason = "WIRE_ERROR_REASON_CONFLICT"
    message = "A concurrent change got in the way; try again."


class Unavailable(GreenroomError):
    """The server, or something it needs, cannot answer at the moment."""

    code = "UNAVAILABLE"
    reason = "WIRE_ERROR_REASON_DATABASE_UNAVAILABLE"
    message = "The database cannot be reached at the moment."


class DeadlineExceeded(GreenroomError):
    """The call outlived its deadline; nothing was committed."""

    code = "DEADLINE_EXCEEDED"
    reason = "WIRE_ERROR_REASON_DEADLINE_EXCEEDED"
    message = "The call took longer than its deadline."


class CredentialsInvalid(Unauthenticated):
    """The credentials are malformed, forged, expired or revoked."""


class StepUpRequired(PermissionDenied):
    """The session must be raised by a fresh factor first."""

    reason = "WIRE_ERROR_REASON_STEP_UP_REQUIRED"
    message = "Confirm who you are first: this needs a fresh factor."


class InvalidPageToken(InvalidArgument):
    """The page token was not issued for this list, filter, order and caller."""

    reason = "WIRE_ERROR_REASON_INVALID_PAGE_TOKEN"
    message = "The page token does not belong to this list."

    def __init__(self) -> None:
        super().__init__(field="page_token")


class InvalidFieldMask(InvalidArgument):
    """The mask is empty or names a field that cannot be updated."""

    reason = "WIRE_ERROR_REASON_INVALID_FIELD_MASK"
    message = "The field mask cannot be applied: {problem}."


class EtagMismatch(Aborted):
    """The resource changed since the caller read it."""

    reason = "WIRE_ERROR_REASON_ETAG_MISMATCH"
    message = "The resource changed since it was read; read it again."


class RateLimited(ResourceExhausted):
    """Too many calls of this kind."""

    reason = "WIRE_ERROR_REASON_RATE_LIMITED"
    message = "Too many calls; try again later."


class Refused:
    """A refusal whose traces must stay: returned, not raised, so that the unit of work commits.

    ``wire`` raises ``error`` after the commit. Raising it inside the unit would undo the counted
    attempt, the revoked family or the audit row that the refusal leaves.
    """

    __slots__ = ("error",)

    def __init__(self, error: GreenroomError) -> None:
        self.error = error
