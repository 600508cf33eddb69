"""Names of what the audit log tells of, ``noun.verb``."""

SIGN_UP = "registration.sign_up"
VERIFY_EMAIL = "registration.verify_email"
LOG_IN = "session.log_in"
LOG_OUT = "session.log_out"
REVOKE_SESSION = "session.revoke"
REFRESH_REUSED = "session.refresh_reused"
