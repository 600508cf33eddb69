"""What becomes of an account that turned out to be somebody else's."""

from server.auth.models import Passkey, WebAuthenticator
from server.auth.rules import RevokeReason
from server.auth.usecases.api_keys import revoke_all_api_keys
from server.auth.usecases.identities import drop_identities
from server.auth.usecases.second_factors import drop_second_factors
from server.auth.usecases.sessions import end_all_sessions
from server.auth.usecases.verification_tokens import void_tokens
from server.core.unit import Unit


def drop_ways_in(unit: Unit, user_id: str) -> None:
    """Takes every way in but the password off an account whose address was proven by its owner, so
    that nothing survives of who had it before: neither what opens it, nor a change of address that
    was asked for and would open it later. A change of number ends with the session that asked."""
    end_all_sessions(unit, user_id, RevokeReason.RECLAIMED)
    revoke_all_api_keys(unit, user_id)
    drop_identities(user_id)
    drop_second_factors(user_id)
    Passkey.delete().where(Passkey.user == user_id).execute()
    WebAuthenticator.delete().where(WebAuthenticator.user == user_id).execute()
    void_tokens(unit, user_id)
