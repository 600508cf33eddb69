"""What can go wrong in auth, each failure named once (AuthErrorReason in the protos)."""

from server.core.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)


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


class EmailUnchanged(InvalidArgument):
    """The account has this address already, and it is verified."""

    reason = "AUTH_ERROR_REASON_EMAIL_UNCHANGED"
    message = "This is the address of the account already."


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


class UserNotFound(NotFound):
    """There is no such account, or none that the caller may see: the same answer."""

    reason = "AUTH_ERROR_REASON_USER_NOT_FOUND"
    message = "There is no such account."


class AccountExists(AlreadyExists):
    """An account has this address or number."""

    reason = "AUTH_ERROR_REASON_ACCOUNT_EXISTS"
    message = "There is an account with this address or number."


class UsernameTaken(AlreadyExists):
    """Another account has this user name, whatever its case."""

    reason = "AUTH_ERROR_REASON_USERNAME_TAKEN"
    message = "This user name is taken."


class UsernameRequired(FailedPrecondition):
    """Students and teachers cannot do without a user name."""

    reason = "AUTH_ERROR_REASON_USERNAME_REQUIRED"
    message = "Students and teachers have a user name."


class StatusForbids(FailedPrecondition):
    """The present status of the account does not allow it."""

    reason = "AUTH_ERROR_REASON_STATUS_FORBIDS"
    message = "This cannot be done to an account that is {status}."


class OwnAccount(PermissionDenied):
    """Nobody does this to their own account."""

    reason = "AUTH_ERROR_REASON_OWN_ACCOUNT"
    message = "Nobody does this to their own account."


class SuperAdminOnly(PermissionDenied):
    """The account or the role is a super_admin's, and the caller is none."""

    reason = "AUTH_ERROR_REASON_SUPER_ADMIN_ONLY"
    message = "Only a super_admin may do this."


class LastSuperAdmin(FailedPrecondition):
    """It would leave nobody in use who is a super_admin."""

    reason = "AUTH_ERROR_REASON_LAST_SUPER_ADMIN"
    message = "The last super_admin stays: give the role to somebody else first."


class RoleUnknown(InvalidArgument):
    """There is no role of this name."""

    reason = "AUTH_ERROR_REASON_ROLE_UNKNOWN"
    message = "There is no role {name}."


class RoleNotAssignable(InvalidArgument):
    """The role is for programs."""

    reason = "AUTH_ERROR_REASON_ROLE_NOT_ASSIGNABLE"
    message = "The role {name} is for programs and is given to nobody."


class RoleBeyondCaller(PermissionDenied):
    """The role permits more than the roles of the caller do."""

    reason = "AUTH_ERROR_REASON_ROLE_BEYOND_CALLER"
    message = "Your own roles do not permit you to give or to take the role {name}."


class FieldForbidden(PermissionDenied):
    """The field is changed by staff only."""

    reason = "AUTH_ERROR_REASON_FIELD_FORBIDDEN"
    message = "You may not change {name}."


class PrimaryRoleNotHeld(FailedPrecondition):
    """The primary role has to be one of the roles of the account."""

    reason = "AUTH_ERROR_REASON_PRIMARY_ROLE_NOT_HELD"
    message = "The account does not hold the role {name}."


class RegistrationNotFound(NotFound):
    """There is no such sign-up."""

    reason = "AUTH_ERROR_REASON_REGISTRATION_NOT_FOUND"
    message = "There is no such sign-up."


class RegistrationDecided(FailedPrecondition):
    """The sign-up does not wait any more."""

    reason = "AUTH_ERROR_REASON_REGISTRATION_DECIDED"
    message = "The sign-up does not wait any more: it is {status}."


class MfaFactorNotFound(NotFound):
    """There is no such second factor, or it is somebody else's: the same answer."""

    reason = "AUTH_ERROR_REASON_MFA_FACTOR_NOT_FOUND"
    message = "There is no such second factor."


class MfaCodeInvalid(InvalidArgument):
    """The code is wrong, was used before, or belongs to another half minute."""

    reason = "AUTH_ERROR_REASON_MFA_CODE_INVALID"
    message = "The code is not valid; wait for the next one, and check the clock of the device."


class MfaChallengeInvalid(Unauthenticated):
    """The challenge is unknown, was used, has ended, or was tried too often."""

    reason = "AUTH_ERROR_REASON_MFA_CHALLENGE_INVALID"
    message = "The sign-in took too long or was tried too often; begin anew."


class MfaFactorNotPending(FailedPrecondition):
    """The factor is active already."""

    reason = "AUTH_ERROR_REASON_MFA_FACTOR_NOT_PENDING"
    message = "This second factor is active already."


class TooManyMfaFactors(FailedPrecondition):
    """The user has as many second factors as there may be."""

    reason = "AUTH_ERROR_REASON_TOO_MANY_MFA_FACTORS"
    message = "There are {most} second factors already; remove one first."


class SecondFactorRequired(FailedPrecondition):
    """The user has a second factor, so a password is not enough."""

    reason = "AUTH_ERROR_REASON_SECOND_FACTOR_REQUIRED"
    message = "A password is not enough for an account with a second factor; give a code of it."


class ProofRejected(PermissionDenied):
    """The password or the passkey does not belong to the calling user."""

    reason = "AUTH_ERROR_REASON_PROOF_REJECTED"
    message = "This does not prove who you are."


class NoMfaFactor(FailedPrecondition):
    """The user has no active second factor."""

    reason = "AUTH_ERROR_REASON_NO_MFA_FACTOR"
    message = "The account has no second factor."


class LastWayIn(FailedPrecondition):
    """Nothing else would open the account any more."""

    reason = "AUTH_ERROR_REASON_LAST_WAY_IN"
    message = "This is the last way into the account; add another one first."


class PasskeyNotFound(NotFound):
    """There is no such passkey, or it is somebody else's: the same answer."""

    reason = "AUTH_ERROR_REASON_PASSKEY_NOT_FOUND"
    message = "There is no such passkey."


class TooManyPasskeys(FailedPrecondition):
    """The user has as many passkeys as there may be."""

    reason = "AUTH_ERROR_REASON_TOO_MANY_PASSKEYS"
    message = "There are {most} passkeys already; remove one first."


class PasskeyExists(AlreadyExists):
    """The credential is registered, whoever it belongs to."""

    reason = "AUTH_ERROR_REASON_PASSKEY_EXISTS"
    message = "This passkey is registered already."


class PasskeyChallengeInvalid(InvalidArgument):
    """The challenge is unknown, was used, has ended, or was made for somebody or something else."""

    reason = "AUTH_ERROR_REASON_PASSKEY_CHALLENGE_INVALID"
    message = "The challenge is not valid any more, or is not yours; begin anew."


class PasskeyOriginRejected(InvalidArgument):
    """The page that asked for the passkey is none of ours."""

    reason = "AUTH_ERROR_REASON_PASSKEY_ORIGIN_REJECTED"
    message = "Passkeys of this server are not used from that page."


class PasskeyRpIdRejected(InvalidArgument):
    """The authenticator answered for another relying party."""

    reason = "AUTH_ERROR_REASON_PASSKEY_RP_ID_REJECTED"
    message = "The passkey was used for another site."


class PasskeyRejected(Unauthenticated):
    """The passkey opens no account: unknown, wrong signature, no user verification, or an account
    that is not in use. One answer, on purpose."""

    reason = "AUTH_ERROR_REASON_PASSKEY_REJECTED"
    message = "This passkey does not open an account."


class PasskeyCountRegressed(Unauthenticated):
    """The counter of the authenticator went back: there may be a copy of it."""

    reason = "AUTH_ERROR_REASON_PASSKEY_COUNT_REGRESSED"
    message = "The counter of this passkey went back, as that of a copy would; log in another way."


class PasskeyInvalid(InvalidArgument):
    """What was sent is no credential, does not verify, or was made without user verification."""

    reason = "AUTH_ERROR_REASON_PASSKEY_INVALID"
    message = "This is not a credential of a browser that can be accepted."


class OtpInvalid(InvalidArgument):
    """The code or token is wrong, used, void, too old, tried too often, or of an unknown request.

    One answer for all of them, on purpose.
    """

    reason = "AUTH_ERROR_REASON_OTP_INVALID"
    message = "This code is not valid, or not any more; ask for a new one."


class OtpSentRecently(ResourceExhausted):
    """A code left a moment ago, or as many as there may be; the same for every destination."""

    reason = "AUTH_ERROR_REASON_OTP_SENT_RECENTLY"
    message = "A code was sent already; ask for another one later."


class OtpSenderUnavailable(Unavailable):
    """The provider of text messages does not answer, or not as it should."""

    reason = "AUTH_ERROR_REASON_OTP_SENDER_UNAVAILABLE"
    message = "Codes cannot be texted or checked at the moment; try again soon."


class PhoneInvalid(InvalidArgument):
    """There is no such number, or it is of a kind that is never texted."""

    reason = "AUTH_ERROR_REASON_PHONE_INVALID"
    message = "This is no number that a code can be sent to."


class PhoneUnchanged(InvalidArgument):
    """The account has this number already, and it is verified."""

    reason = "AUTH_ERROR_REASON_PHONE_UNCHANGED"
    message = "This is the number of your account already."


class PhoneTaken(AlreadyExists):
    """Another account has proven this number."""

    reason = "AUTH_ERROR_REASON_PHONE_TAKEN"
    message = "Another account has this number."


class PhoneNotConfigured(FailedPrecondition):
    """The server has no way to send text messages."""

    reason = "AUTH_ERROR_REASON_PHONE_NOT_CONFIGURED"
    message = "This server sends no text messages."


class ProviderNotConfigured(FailedPrecondition):
    """The server has no settings for this provider."""

    reason = "AUTH_ERROR_REASON_PROVIDER_NOT_CONFIGURED"
    message = "Signing in with {provider} is not set up here."


class RedirectUriNotAllowed(InvalidArgument):
    """The redirect URI is none of those that the settings list."""

    reason = "AUTH_ERROR_REASON_REDIRECT_URI_NOT_ALLOWED"
    message = "This redirect URI is not allowed."


class OAuthStateInvalid(InvalidArgument):
    """The state is unknown, used, too old, for another purpose, or another client's.

    One answer for all of them, on purpose.
    """

    reason = "AUTH_ERROR_REASON_OAUTH_STATE_INVALID"
    message = "This sign-in is not waited for any more; begin anew."


class OAuthProofInvalid(InvalidArgument):
    """What the provider or the app answered proves nobody's identity."""

    reason = "AUTH_ERROR_REASON_OAUTH_PROOF_INVALID"
    message = "The provider's answer does not prove who you are; begin anew."


class ProviderUnavailable(Unavailable):
    """The provider does not answer, or not as it should."""

    reason = "AUTH_ERROR_REASON_PROVIDER_UNAVAILABLE"
    message = "The provider does not answer as it should; begin anew in a moment."


class LinkRequired(FailedPrecondition):
    """An account has the address of the identity, and nothing is opened by an address."""

    reason = "AUTH_ERROR_REASON_LINK_REQUIRED"
    message = "An account has this address: log in to it, then link {provider}."


class IdentityTaken(AlreadyExists):
    """The identity is a way into another account."""

    reason = "AUTH_ERROR_REASON_IDENTITY_TAKEN"
    message = "This identity is linked to another account."


class IdentityNotFound(NotFound):
    """There is no such identity, or it is somebody else's: the same answer."""

    reason = "AUTH_ERROR_REASON_IDENTITY_NOT_FOUND"
    message = "There is no such identity."


class EmailUnverified(FailedPrecondition):
    """Somebody else may yet prove the address of the account, and would share it."""

    reason = "AUTH_ERROR_REASON_EMAIL_UNVERIFIED"
    message = "Prove the address of your account first."


class ApiKeyNotFound(NotFound):
    """There is no such key, or it is somebody else's: the same answer."""

    reason = "AUTH_ERROR_REASON_API_KEY_NOT_FOUND"
    message = "There is no such key."


class ScopeBeyondCaller(PermissionDenied):
    """The caller does not hold a permission that the key shall have."""

    reason = "AUTH_ERROR_REASON_SCOPE_BEYOND_CALLER"
    message = "You do not hold the permission {scope}, so your key cannot have it."


class ApiKeyExpiryInvalid(InvalidArgument):
    """A key ends in the future, and within 366 days."""

    reason = "AUTH_ERROR_REASON_API_KEY_EXPIRY_INVALID"
    message = "A key ends in the future, and within 366 days."


class TooManyApiKeys(FailedPrecondition):
    """The user has as many keys as there may be."""

    reason = "AUTH_ERROR_REASON_TOO_MANY_API_KEYS"
    message = "There are {most} keys already; revoke one first."


class AccountProtected(PermissionDenied):
    """The account holds a role of staff, which a web framework does not touch."""

    reason = "AUTH_ERROR_REASON_ACCOUNT_PROTECTED"
    message = "Accounts of staff are not changed by a web framework."


class WebSessionExists(AlreadyExists):
    """The token is or was that of another session."""

    reason = "AUTH_ERROR_REASON_WEB_SESSION_EXISTS"
    message = "This session token was used before."


class WebAuthenticatorExists(AlreadyExists):
    """The credential is registered, for another user or with another key."""

    reason = "AUTH_ERROR_REASON_WEB_AUTHENTICATOR_EXISTS"
    message = "This credential is registered already."
