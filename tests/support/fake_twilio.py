"""Twilio Verify (version 2) on loopback: its paths, forms, statuses and error numbers, a phone for
each number, and faults on demand."""

import base64
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.fake_http import Asked, FakeHttp, Response, json_of

ACCOUNT_SID = "AC" + "0" * 31 + "1"
AUTH_TOKEN = "twilio-auth-token-of-the-tests"
SERVICE_SID = "VA" + "0" * 31 + "2"

LIFE = timedelta(minutes=10)
MOST_CHECKS = 5
MOST_SENDS = 5


@dataclass
class Verification:
    """A code for a number."""

    sid: str
    to: str
    code: str
    started: datetime
    status: str = "pending"
    sends: int = 1
    checks: int = 0


def error(status: int, code: int, message: str) -> Response:
    """An error as Twilio writes it."""
    more = f"https://www.twilio.com/docs/errors/{code}"
    content = {"code": code, "message": message, "more_info": more, "status": status}
    return json_of(content, status)


class FakeTwilio(FakeHttp):
    """The server. ``fault`` answers in place of the right thing while it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.verifications: list[Verification] = []
        self.asked: list[Asked] = []
        self.fault: Callable[[Asked], Response | None] = lambda asked: None
        self._texts: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    @property
    def settings(self) -> dict[str, str]:
        """Settings of a server that uses this one."""
        return {
            "twilio_account_sid": ACCOUNT_SID,
            "twilio_auth_token": AUTH_TOKEN,
            "twilio_verify_service_sid": SERVICE_SID,
            "twilio_base_url": self.url,
        }

    def texts(self, to: str) -> list[str]:
        """The codes that a phone was texted, oldest first."""
        with self._lock:
            return list(self._texts.get(to, []))

    def text(self, to: str, count: int = 1) -> str:
        """The newest code on a phone, once there are ``count`` of them."""
        end = time.monotonic() + 10
        while len(found := self.texts(to)) < count:
            assert time.monotonic() < end, f"no text number {count} to {to}"
            time.sleep(0.01)
        return found[-1]

    def hang(self, _asked: Asked) -> Response:
        """A fault: no answer until the fake ends."""
        self.released.wait(30)
        return error(503, 20503, "Service unavailable")

    def answer(self, asked: Asked) -> Response:
        """What a request gets."""
        with self._lock:
            self.asked.append(asked)
        known = base64.b64encode(f"{ACCOUNT_SID}:{AUTH_TOKEN}".encode()).decode()
        if asked.authorization != f"Basic {known}":
            return error(401, 20003, "Authenticate")
        fault = self.fault(asked)
        if fault is not None:
            return fault
        root = f"/v2/Services/{SERVICE_SID}/"
        if not asked.path.startswith(root):
            return self._not_found(asked)
        with self._lock:
            return self._served(asked, asked.path.removeprefix(root))

    def _served(self, asked: Asked, path: str) -> Response:
        if path == "Verifications":
            return self._start(asked)
        if path == "VerificationCheck":
            return self._check(asked)
        if path.startswith("Verifications/"):
            return self._change(asked, path.removeprefix("Verifications/"))
        return self._not_found(asked)

    def _start(self, asked: Asked) -> Response:
        to = asked.form.get("To", "")
        if asked.form.get("Channel") != "sms":
            return error(400, 60200, "Invalid parameter `Channel`")
        if not to.startswith("+"):
            return error(400, 60200, f"Invalid parameter `To`: {to}")
        pending = self._pending(lambda verification: verification.to == to)
        if pending is None:
            code = f"{secrets.randbelow(10**6):06d}"
            pending = Verification(f"VE{secrets.token_hex(16)}", to, code, self.now())
            self.verifications.append(pending)
        elif pending.sends >= MOST_SENDS:
            return error(429, 60203, "Max send attempts reached")
        else:
            pending.sends += 1
        self._texts.setdefault(to, []).append(pending.code)
        return json_of(self._shown(pending), 201)

    def _check(self, asked: Asked) -> Response:
        sid, to, code = (asked.form.get(name, "") for name in ("VerificationSid", "To", "Code"))
        if not (sid or to) or not code:
            return error(400, 60200, "Invalid parameter")
        found = self._pending(lambda item: item.sid == sid if sid else item.to == to)
        if found is None:
            return self._not_found(asked)
        if found.checks >= MOST_CHECKS:
            return error(429, 60202, "Max check attempts reached")
        found.checks += 1
        if secrets.compare_digest(found.code, code):
            found.status = "approved"
        return json_of(self._shown(found))

    def _change(self, asked: Asked, sid: str) -> Response:
        found = self._pending(lambda item: item.sid == sid)
        if found is None:
            return self._not_found(asked)
        if asked.form.get("Status") != "canceled":
            return error(400, 60200, "Invalid parameter `Status`")
        found.status = "canceled"
        return json_of(self._shown(found))

    def _pending(self, wanted: Callable[[Verification], bool]) -> Verification | None:
        young = (item for item in self.verifications if item.started > self.now() - LIFE)
        return next((item for item in young if item.status == "pending" and wanted(item)), None)

    def _shown(self, verification: Verification) -> dict[str, Any]:
        return {
            "sid": verification.sid,
            "service_sid": SERVICE_SID,
            "account_sid": ACCOUNT_SID,
            "to": verification.to,
            "channel": "sms",
            "status": verification.status,
            "valid": verification.status == "approved",
            "amount": None,
            "payee": None,
        }

    def _not_found(self, asked: Asked) -> Response:
        return error(404, 20404, f"The requested resource {asked.path} was not found")
