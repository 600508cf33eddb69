"""Codes by Twilio Verify (version 2), which makes, texts and checks them.

Its REST API is used directly: Twilio's own library takes no other address than Twilio's, and sets no
bound on the time of a whole request.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import httpx
import orjson

from server.auth.errors import OtpSenderUnavailable
from server.auth.gateways.trust import trusted_authorities
from server.auth.sms_port import CodeText, SmsFailed, SmsRefused
from server.core.clock import Clock

logger = logging.getLogger(__name__)

DOWN = timedelta(seconds=30)
"""After a request without a proper answer nobody is sent to Twilio for this long."""

MOST_BYTES = 64 * 1024
"""Of an answer."""

_MAX_CHECK_ATTEMPTS = 60202
_MAX_SEND_ATTEMPTS = 60203
_OUR_FAULT = frozenset({401, 404})
"""Statuses of a request to create something that say that the settings are wrong."""

_SID = re.compile(r"VE[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class TwilioAccount:
    """By what Twilio knows us."""

    sid: str
    token: str = field(repr=False)
    service_sid: str
    base_url: str


class _Reply(NamedTuple):
    status: int
    content: dict[str, Any]

    @property
    def code(self) -> int:
        """Twilio's own number of an error; 0 where there is none."""
        found = self.content.get("code")
        return found if isinstance(found, int) else 0


class TwilioVerify:
    """Asks one Verify service. Used from jobs' threads and from the loop alike."""

    holds_codes = True

    def __init__(self, account: TwilioAccount, *, timeout: float, clock: Clock) -> None:
        self._account = account
        self._timeout = timeout
        self._clock = clock
        self._down_until: datetime | None = None

    def check_ready(self) -> None:
        """``OtpSenderUnavailable`` for a while after a request without a proper answer: to known
        and unknown numbers alike, since for the latter Twilio is never asked."""
        until, now = self._down_until, self._clock.now()
        if until is not None and until > now:
            raise OtpSenderUnavailable(retry_after=(until - now).total_seconds())

    def send(self, text: CodeText) -> str:
        """Has a code sent; its ``sid``. Twilio would send a pending code again instead of a new one,
        so the one that is replaced is cancelled first."""
        return asyncio.run(self._send(text))

    async def _send(self, text: CodeText) -> str:
        if text.replaces:
            # Where it is not pending any more the answer is 404, which is as good.
            await self._post(f"Verifications/{text.replaces}", {"Status": "canceled"})
        reply = await self._post("Verifications", {"To": text.to, "Channel": "sms"})
        if 200 <= reply.status < 300:
            sid = reply.content.get("sid")
            if not isinstance(sid, str) or not _SID.fullmatch(sid):
                raise self._failed("an answer without a sid")
            return sid
        if reply.status in _OUR_FAULT:
            raise self._failed(f"status {reply.status}, code {reply.code}; check the settings")
        logger.warning("Twilio refuses a number: status %s, code %s", reply.status, reply.code)
        raise SmsRefused(f"Twilio's code {reply.code}")

    async def check(self, verification_sid: str, code: str) -> bool:
        """Whether Twilio approves the code. Without a ``verification_sid`` one is asked for that
        does not exist: nothing was sent, and that must not show in the time that it takes."""
        sid = verification_sid or f"VE{secrets.token_hex(16)}"
        form = {"VerificationSid": sid, "Code": code}
        try:
            reply = await self._post("VerificationCheck", form)
        except SmsFailed:
            raise OtpSenderUnavailable(retry_after=DOWN.total_seconds()) from None
        if 200 <= reply.status < 300:
            return reply.content.get("status") == "approved" and reply.content.get("valid") is True
        if reply.status == 404 or reply.code == _MAX_CHECK_ATTEMPTS:
            return False  # Approved before, cancelled, too old, or tried too often.
        self._failed(f"status {reply.status}, code {reply.code} to a check")
        raise OtpSenderUnavailable(retry_after=DOWN.total_seconds())

    async def _post(self, path: str, form: Mapping[str, str]) -> _Reply:
        """One request; ``SmsFailed`` where there is no answer that says anything."""
        account = self._account
        url = f"{account.base_url.rstrip('/')}/v2/Services/{account.service_sid}/{path}"
        try:
            async with (
                asyncio.timeout(self._timeout),
                httpx.AsyncClient(
                    auth=(account.sid, account.token),
                    timeout=self._timeout,
                    verify=trusted_authorities(),
                    trust_env=False,
                    headers={"accept": "application/json", "accept-encoding": "identity"},
                ) as client,
                client.stream("POST", url, data=dict(form)) as response,
            ):
                reply = _Reply(response.status_code, await _read(response))
        except (httpx.HTTPError, TimeoutError, OSError, ValueError) as error:
            raise self._failed(type(error).__name__) from None
        if reply.status >= 500 or (
            reply.status == 429 and reply.code not in (_MAX_CHECK_ATTEMPTS, _MAX_SEND_ATTEMPTS)
        ):
            raise self._failed(f"status {reply.status}, code {reply.code}")
        self._down_until = None
        return reply

    def _failed(self, what: str) -> SmsFailed:
        """Notes that Twilio is down, in a log line without number or code."""
        self._down_until = self._clock.now() + DOWN
        logger.warning("Twilio Verify: %s", what)
        return SmsFailed(what)


async def _read(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer, of a bounded length; empty where it is something else."""
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > MOST_BYTES:
            raise ValueError("too long")
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}
