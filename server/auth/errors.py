"""What can go wrong in auth, each failure named once (AuthErrorReason in the protos)."""

from server.core.errors import InvalidArgument, NotFound, ResourceExhausted, Unauthenticated


class BadCredentials(Unauthenticated):
    """Identifier and password do not belong together, or the account is not in use.

    One answer for an unknown account, a wrong password and a locked account, on purpose.
    """

    reason = "AUTH_ERROR_REASON_BAD_CREDENTIALS"
    message = "These credentials do not open an account."


class PasswordTooWeak(InvalidArgument):
    """The password is common or easy to guess; ``problem`` says what makes it so."""

    reason = "AUTH_ERROR_REASON_PASSWORD_TOO_WEAK"
    message = "The password is too easy to guess. {problem}"


class VerificationTokenInvalid(InvalidArgument):
    """The verification token is unknown, used, superseded or expired."""

    reason = "AUTH_ERROR_REASON_VERIFICATION_TOKEN_INVALID"
    message = "The verification token is not valid; ask for a new one."


class RefreshTokenInvalid(Unauthenticated):
    """The refresh token is unknown or expired, or its session has ended."""

    reason = "AUTH_ERROR_REASON_REFRESH_TOKEN_INVALID"
    message = "The refresh token is not valid; log in again."


class RefreshTokenReused(Unauthenticated):
    """A spent refresh token was presented; its family and session are revoked."""

    reason = "AUTH_ERROR_REASON_REFRESH_TOKEN_REUSED"
    message = "The refresh token was used before, so its session has been ended; log in again."


class SessionNotFound(NotFound):
    """There is no such session, or it is somebody else's: the same answer."""

    reason = "AUTH_ERROR_REASON_SESSION_NOT_FOUND"
    message = "Session {session_id} does not exist."


class TooManyAttempts(ResourceExhausted):
    """Too many tries for this identifier; never permanent, and the same for unknown ones."""

    reason = "AUTH_ERROR_REASON_TOO_MANY_ATTEMPTS"
    message = "Too many attempts; try again later."
