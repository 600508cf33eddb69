"""The rows of auth, a file a noun. Columns are told of in the migrations 01NN."""

from server.auth.models.accounts import Credential, Role, User, UserRole
from server.auth.models.api_keys import ApiKey
from server.auth.models.attempts import ContactSend, LoginAttempt
from server.auth.models.audit import AuditChain, AuditEvent
from server.auth.models.identities import Identity, OAuthAuthorization
from server.auth.models.mfa import MfaChallenge, MfaFactor, MfaTries, RecoveryCode
from server.auth.models.otps import Otp, OtpTries
from server.auth.models.passkeys import Passkey, PasskeyChallenge
from server.auth.models.registrations import Registration, VerificationToken
from server.auth.models.sessions import RefreshToken, Session
from server.auth.models.web_authenticators import WebAuthenticator

__all__ = [
    "ApiKey",
    "AuditChain",
    "AuditEvent",
    "ContactSend",
    "Credential",
    "Identity",
    "LoginAttempt",
    "MfaChallenge",
    "MfaFactor",
    "MfaTries",
    "OAuthAuthorization",
    "Otp",
    "OtpTries",
    "Passkey",
    "PasskeyChallenge",
    "RecoveryCode",
    "RefreshToken",
    "Registration",
    "Role",
    "Session",
    "User",
    "UserRole",
    "VerificationToken",
    "WebAuthenticator",
]
