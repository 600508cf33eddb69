"""The wrapper of a unary method: one coroutine around the servicer, composed at registration."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from types import CoroutineType
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc import aio

from server.core.errors import DeadlineExceeded, GreenroomError, PermissionDenied, Refused
from server.core.unit import Unit
from server.wire.admission import TooManyCalls
from server.wire.arrival import Context
from server.wire.call import Call
from server.wire.deadlines import Deadlines
from server.wire.exchange import Exchange
from server.wire.idempotency import FIELD, ReplyStore
from server.wire.policies import ContractError, MethodRule
from server.wire.service import SERIALIZABLE
from server.wire.status import abort
from server.wire.validation import decoder, request_missing

Servicer = Callable[[Any, Call], Any]
Handle = Callable[[object, Context], Awaitable[bytes]]
Invoke = Callable[[Any, Call], Awaitable[bytes | Message | Refused]]
"""Gives a reply, encoded or not, or a refusal."""


class UnaryBudget:
    """How many unary calls are being worked on, how many may be, and until when each; on the loop that
    runs when it is made."""

    __slots__ = ("deadlines", "in_flight", "limit", "loop")

    def __init__(self, limit: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.deadlines = Deadlines()
        self.limit = limit
        self.in_flight = 0


def unary_handler(
    exchange: Exchange,
    budget: UnaryBudget,
    replies: ReplyStore,
    rule: MethodRule,
    servicer: Servicer,
) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """A handler that reads and decodes by itself, so that a request that is missing, never comes, or
    cannot be decoded is an error like others: for grpc.aio it takes a stream of requests. A handler of
    one request would not even be called when there is none, and the call would never be answered."""
    invoke = _invoker(exchange, replies, rule, servicer)
    decode = decoder(rule)
    admit = exchange.gate(rule).admit
    deadlines = budget.deadlines
    finish = exchange.finisher(rule)

    async def handle(_requests: object, context: Context) -> bytes:
        # Without the loop it would ask for the id of the process, which is a system call.
        task = asyncio.current_task(budget.loop)
        call, token = exchange.open(rule, context, task)
        request: Message | None = None
        assert task is not None and call.deadline is not None
        deadlines.watch(task, call.deadline)
        counted = 0
        try:
            raw = await context.read()
            # Only now: who is slow to ask takes nobody's place.
            counted = 1
            budget.in_flight += 1
            if budget.in_flight > budget.limit:
                raise TooManyCalls(retry_after=0.5)
            waiting = admit(call, token)
            if waiting is not None:
                await waiting
            if raw is aio.EOF:
                await request_missing(rule)
            request = decode(raw)
            reply = await invoke(request, call)
            encoded = reply if isinstance(reply, bytes) else _encoded(reply)
        except asyncio.CancelledError:
            if not deadlines.forget(task):
                finish(call, "CANCELLED", None, request)
                raise
            task.uncancel()
            error: GreenroomError = DeadlineExceeded()
        except Exception as raised:
            error = exchange.foreseen(call, raised)
        else:
            finish(call, "OK", None, request)
            return encoded
        finally:
            deadlines.forget(task)
            budget.in_flight -= counted
        finish(call, error.code, error, request)
        await abort(context, error, call.request_id)
        raise AssertionError("abort returned")

    return grpc.stream_unary_rpc_method_handler(_PlainlyAsync(handle))


class _PlainlyAsync(partial[Awaitable[bytes]]):
    """A handler that grpc.aio sees at once to be asynchronous. It asks twice a call, first whether the
    handler is a coroutine; of a function it then looks at the code, which takes longer than its
    admission."""

    __class__ = CoroutineType  # type: ignore[assignment]


def _invoker(
    exchange: Exchange, replies: ReplyStore, rule: MethodRule, servicer: Servicer
) -> Invoke:
    if inspect.iscoroutinefunction(servicer):
        if rule.idempotency == "REQUEST_ID":
            raise ContractError(
                f"{rule.full_name}: REQUEST_ID stores its reply in the unit of the effect, so the "
                "servicer method must be a plain `def`"
            )
        invoke: Invoke = servicer
    else:
        invoke = _in_unit(exchange, replies, rule, servicer)
    return _audited(exchange, invoke) if rule.audit else invoke


def _audited(exchange: Exchange, invoke: Invoke) -> Invoke:
    """A denial by a rule, behind the policy, has undone its unit: it leaves a row of its own."""

    async def audited(request: Message, call: Call) -> bytes | Message | Refused:
        try:
            return await invoke(request, call)
        except PermissionDenied as denial:
            await exchange.audit_denial(call, denial)
            raise

    return audited


def _in_unit(
    exchange: Exchange, replies: ReplyStore, rule: MethodRule, servicer: Servicer
) -> Invoke:
    stored = rule.idempotency == "REQUEST_ID"
    write = not rule.read_only
    isolated = hasattr(servicer, SERIALIZABLE)
    database = exchange.database

    async def invoke(request: Message, call: Call) -> bytes | Refused:
        def work(unit: Unit) -> bytes | Refused:
            call.unit = unit
            if stored and getattr(request, FIELD):
                return replies.once(unit, rule, request, lambda: effect(unit))
            return effect(unit)

        def effect(unit: Unit) -> bytes | Refused:
            reply = servicer(request, call)
            if isinstance(reply, Refused):
                return reply
            if rule.audit and not unit.audited:
                unit.audit(rule.full_name)
            return _encoded(reply)

        # A refusal that is returned has left its own row.
        return await database.run(
            work, write=write, serializable=isolated, deadline=call.deadline, context=call.context
        )

    return invoke


def _encoded(reply: Any) -> bytes:
    if isinstance(reply, bytes):
        return reply
    if isinstance(reply, Refused):
        raise reply.error
    encoded: bytes = reply.SerializeToString()
    return encoded
