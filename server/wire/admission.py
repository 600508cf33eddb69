"""The checks between the arrival of a call and its decoding: budget, limits, identity, policy."""

from collections.abc import Mapping

from server.core.caller import ANONYMOUS, Caller
from server.core.clock import Clock
from server.core.errors import (
    CredentialsInvalid,
    PermissionDenied,
    RateLimited,
    ResourceExhausted,
    StepUpRequired,
    Unauthenticated,
)
from server.core.limits import Counters
from server.core.rates import Rate
from server.wire.auth_ports import Authenticator
from server.wire.policies import AccessRule, MethodRule

PER_ADDRESS = frozenset({"LOGIN", "MAIL"})
"""Rate classes of calls that are made before anybody is signed in: counted by address."""


class TooManyCalls(ResourceExhausted):
    """The server is at its limit of concurrent unary calls."""

    message = "The server works on as many calls as it takes; try again in a moment."


class CredentialsMissing(Unauthenticated):
    """The method needs a caller and the call carried no credentials."""

    reason = "WIRE_ERROR_REASON_CREDENTIALS_MISSING"
    message = "Sign in first: the call carried no `authorization: Bearer` metadata."


class AccessDenied(PermissionDenied):
    """This kind of caller may not call the method."""

    message = "This kind of caller may not call {method}."


class Admission:
    """Decides, before anything is decoded, whether a call goes on, and who makes it."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        counters: Counters,
        clock: Clock,
        address_rate: Rate | None,
        class_rates: Mapping[str, Rate | None],
    ) -> None:
        self._authenticator = authenticator
        self._counters = counters
        self._clock = clock
        self._address_rate = address_rate
        self._class_rates = class_rates
        self._shared = counters.is_shared

    def check_address(self, address: str) -> None:
        """Raises ``RateLimited`` when the address makes too many calls of any kind.

        Counted in this process only: it guards the process, not an account.
        """
        if self._address_rate is not None:
            wait = self._counters.take_now("address:" + address, self._address_rate)
            if wait > 0:
                raise RateLimited(retry_after=wait)

    async def check_class(self, rule: MethodRule, caller: Caller, address: str) -> None:
        """Raises ``RateLimited`` when the caller makes too many calls of the method's class."""
        if rule.rate_class in PER_ADDRESS:
            await self._take(rule.rate_class, f"{rule.full_name}:{address}")
        else:
            await self.check_rate(rule.rate_class, caller, address)

    async def check_rate(self, rate_class: str, caller: Caller, address: str) -> None:
        """Raises ``RateLimited`` when the caller is over the rate of a class."""
        await self._take(rate_class, caller.principal if caller.user_id else address)

    async def _take(self, rate_class: str, who: str) -> None:
        rate = self._class_rates.get(rate_class)
        if rate is None:
            return
        key = f"{rate_class}:{who}"
        if self._shared:
            wait = await self._counters.take(key, rate)
        else:
            wait = self._counters.take_now(key, rate)
        if wait > 0:
            raise RateLimited(retry_after=wait)

    def identify_cached(self, rule: MethodRule, token: str) -> Caller | None:
        """The caller without any waiting, or ``None`` when :meth:`identify` has to be asked."""
        if rule.access.public or (rule.access.unsigned and not token):
            return ANONYMOUS
        if not token:
            raise CredentialsMissing
        return self._authenticator.authenticate_cached(token)

    async def identify(self, token: str) -> Caller:
        """The caller of a token that is not in the cache."""
        return await self._authenticator.authenticate(token)

    def check_policy(self, rule: MethodRule, caller: Caller) -> None:
        """Raises ``AccessDenied`` or ``StepUpRequired`` unless the policy lets the caller in, and
        ``CredentialsInvalid`` for an account that is deleted."""
        access = rule.access
        if access.public:
            return
        if caller.deleted and not access.deleted_too:
            raise CredentialsInvalid
        if not _kind_allowed(access, caller) or not _permitted(access, caller):
            raise AccessDenied(method=rule.full_name)
        if access.step_up and not caller.is_raised(self._clock.now()):
            raise StepUpRequired


def _kind_allowed(access: AccessRule, caller: Caller) -> bool:
    if caller.kind == "user":
        return access.signed_in or not access.roles.isdisjoint(caller.roles)
    if caller.kind == "service":
        return access.service
    return access.unsigned


def _permitted(access: AccessRule, caller: Caller) -> bool:
    return not access.permission or caller.may(access.permission)


def bearer(authorization: str) -> str:
    """The token of an ``authorization`` value (RFC 6750); empty when it holds none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
