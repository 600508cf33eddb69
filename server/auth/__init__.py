"""Who somebody is: sign-up, log-in, sessions, access tokens, roles and the audit log."""
