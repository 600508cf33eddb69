"""One effect and one reply for each ``request_id`` (AIP-155), in the unit of the effect."""

from collections.abc import Callable

from google.protobuf.message import Message

from server.core import idempotency
from server.core.errors import InvalidArgument, Refused
from server.core.sealing import Keyring
from server.core.unit import Unit
from server.wire.policies import MethodRule

FIELD = "request_id"


class RequestIdReused(InvalidArgument):
    """This ``request_id`` was used before with another body."""

    reason = "WIRE_ERROR_REASON_REQUEST_ID_REUSED"
    message = "This request_id was used before for another request."


class ReplyStore:
    """Keeps the first reply of each request id of a caller and plays it back for 24 hours."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def once(
        self,
        unit: Unit,
        rule: MethodRule,
        request: Message,
        effect: Callable[[], bytes | Refused],
    ) -> bytes | Refused:
        """The stored reply of this request id; else the effect's, which is stored with the effect.

        A refusal is not stored: it may be tried again under the same id. An exception rolls the
        claim back with the effect.
        """
        request_id: str = getattr(request, FIELD)
        content = self._content(rule, request)
        stored = idempotency.claim(
            unit, rule.full_name, request_id, self._keyring.hmac("request", content)
        )
        if stored is not None:
            if not self._keyring.verify_hmac("request", content, stored.fingerprint):
                raise RequestIdReused(field=FIELD)
            assert stored.response is not None, "a claim commits with its reply or not at all"
            return stored.response
        reply = effect()
        if isinstance(reply, Refused):
            idempotency.forget(unit, rule.full_name, request_id)
        else:
            idempotency.store(unit, rule.full_name, request_id, reply)
        return reply

    @staticmethod
    def _content(rule: MethodRule, request: Message) -> bytes:
        """The body without its id, the same bytes for the same fields."""
        bare = rule.request()
        bare.CopyFrom(request)
        bare.ClearField(FIELD)
        return rule.full_name.encode() + b"\0" + bare.SerializeToString(deterministic=True)
