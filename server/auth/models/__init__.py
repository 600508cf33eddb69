"""The rows of auth, a file a noun. Columns are told of in the migrations 01NN."""

from server.auth.models.accounts import Credential, Role, User, UserRole
from server.auth.models.attempts import ContactSend, LoginAttempt
from server.auth.models.audit import AuditChain, AuditEvent
from server.auth.models.registrations import Registration, VerificationToken
from server.auth.models.sessions import RefreshToken, Session

__all__ = [
    "AuditChain",
    "AuditEvent",
    "ContactSend",
    "Credential",
    "LoginAttempt",
    "RefreshToken",
    "Registration",
    "Role",
    "Session",
    "User",
    "UserRole",
    "VerificationToken",
]
