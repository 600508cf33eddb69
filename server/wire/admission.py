"""The checks between the arrival of a call and its decoding: budget, limits, identity, policy."""

from collections.abc import Awaitable, Callable, Mapping

from server.core.caller import ANONYMOUS, Caller
from server.core.clock import Clock
from server.core.errors import (
    CredentialsInvalid,
    GreenroomError,
    PermissionDenied,
    RateLimited,
    ResourceExhausted,
    StepUpRequired,
    Unauthenticated,
)
from server.core.limits import Counters
from server.core.rates import Rate
from server.wire.auth_ports import Authenticator
from server.wire.call import Call
from server.wire.policies import AccessRule, MethodRule

AuditDenial = Callable[[Call, GreenroomError], Awaitable[None]]

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
    """What decides, before anything is decoded, whether a call goes on, and who makes it."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        counters: Counters,
        clock: Clock,
        address_rate: Rate | None,
        class_rates: Mapping[str, Rate | None],
    ) -> None:
        self.authenticator = authenticator
        self.counters = counters
        self.clock = clock
        self.address_rate = address_rate
        self.class_rates = class_rates

    async def check_rate(self, rate_class: str, caller: Caller, address: str) -> None:
        """Raises ``RateLimited`` when the caller is over the rate of a class."""
        who = caller.principal if caller.user_id else address
        waiting = self.count(self.class_rates.get(rate_class), f"{rate_class}:{who}")
        if waiting is not None:
            await waiting

    def count(self, rate: Rate | None, key: str) -> Awaitable[None] | None:
        """Counts one event and raises ``RateLimited`` when there were too many; what counts it has to be
        awaited when the counters are shared with other processes."""
        if rate is None:
            return None
        if self.counters.is_shared:
            return self._count_shared(rate, key)
        wait = self.counters.take_now(key, rate)
        if wait > 0:
            raise RateLimited(retry_after=wait)
        return None

    async def _count_shared(self, rate: Rate, key: str) -> None:
        wait = await self.counters.take(key, rate)
        if wait > 0:
            raise RateLimited(retry_after=wait)


class Gate:
    """The admission to one method, put together when the method is registered.

    A call of somebody who is remembered passes without waiting for anything, and then pays for one
    function: everybody whom its policy lets in without a further look is known beforehand.
    """

    def __init__(self, admission: Admission, rule: MethodRule, audit_denial: AuditDenial) -> None:
        self._admission = admission
        self._rule = rule
        self._audit_denial = audit_denial
        self._authenticate_cached = admission.authenticator.authenticate_cached
        self._clock = admission.clock
        self._address_rate = admission.address_rate
        self._rate = admission.class_rates.get(rule.rate_class)
        by_address = rule.rate_class in PER_ADDRESS
        self._by_address = by_address
        self._prefix = f"{rule.rate_class}:" + (f"{rule.full_name}:" if by_address else "")

    def admit(self, call: Call, token: str) -> Awaitable[None] | None:
        """Limit per address, identity, policy, limit per caller; raises at the first that fails. What
        could not be decided at once is returned, to be awaited."""
        rate = self._address_rate
        if rate is not None:
            # Counted in this process only: it guards the process, not an account.
            wait = self._admission.counters.take_now("address:" + call.address, rate)
            if wait > 0:
                raise RateLimited(retry_after=wait)
        access = self._rule.access
        if access.public or (access.unsigned and not token):
            return self._let_in(call, ANONYMOUS)
        if not token:
            raise CredentialsMissing
        caller = self._authenticate_cached(token)
        if caller is None:
            return self._identify(call, token)
        return self._let_in(call, caller)

    async def _identify(self, call: Call, token: str) -> None:
        """Goes on with the caller of a token that is not remembered."""
        waiting = self._let_in(call, await self._admission.authenticator.authenticate(token))
        if waiting is not None:
            await waiting

    def _let_in(self, call: Call, caller: Caller) -> Awaitable[None] | None:
        call.caller = caller
        if not (self._rule.access.any_user and caller.kind == "user" and not caller.deleted):
            try:
                self._check_policy(caller)
            except PermissionDenied as denial:
                if self._rule.audit:
                    return self._denied(call, denial)
                raise
        return self._count(call)

    async def _denied(self, call: Call, denial: PermissionDenied) -> None:
        # Counted first: nobody fills the audit log faster than they may call.
        waiting = self._count(call)
        if waiting is not None:
            await waiting
        await self._audit_denial(call, denial)
        raise denial

    def _count(self, call: Call) -> Awaitable[None] | None:
        """The limit of the caller, or of the address where nobody is signed in yet."""
        rate = self._rate
        if rate is None:
            return None
        caller = call.caller
        signed_in = caller.user_id and not self._by_address
        who = caller.principal if signed_in else call.address
        return self._admission.count(rate, self._prefix + who)

    def _check_policy(self, caller: Caller) -> None:
        """Raises ``AccessDenied`` or ``StepUpRequired`` unless the policy lets the caller in, and
        ``CredentialsInvalid`` for an account that is deleted."""
        access = self._rule.access
        if access.public:
            return
        if caller.deleted and not access.deleted_too:
            raise CredentialsInvalid
        if not _kind_allowed(access, caller) or not _permitted(access, caller):
            raise AccessDenied(method=self._rule.full_name)
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
