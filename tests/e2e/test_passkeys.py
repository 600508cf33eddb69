"""Passkeys in a real Chromium with its virtual authenticator, through Envoy on http://localhost."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.node import chromium, installed_typescript, node_environment
from tests.support.site import PASSWORD, Site

SCRIPT = Path(__file__).with_name("passkeys.mjs")
VISIT_SECONDS = 100


def visit(site: Site, folder: Path, email: str) -> dict[str, Any]:
    """What happened in the browser, step by step."""
    installed_typescript()
    port = site.address.rpartition(":")[2]
    plan = {
        "site": f"http://localhost:{port}",
        "email": email,
        "password": PASSWORD,
        "folder": str(folder),
    }
    done = subprocess.run(
        ["node", str(SCRIPT), json.dumps(plan)],
        env={**node_environment(), "CHROME": chromium()},
        capture_output=True,
        text=True,
        timeout=VISIT_SECONDS,
    )
    assert done.stdout, done.stderr
    happened: dict[str, Any] = json.loads(done.stdout)
    return happened


def test_a_browser_registers_a_passkey_and_logs_in_with_it(site: Site, tmp_path: Path) -> None:
    ada = site.person("ada")
    assert visit(site, tmp_path, ada.email) == {
        "supported": True,
        "registered": "Ada's laptop",
        # The browser finds the passkey in the list of those that are excluded.
        "registeredAgain": "InvalidStateError",
        "proved": "raised",
        "loggedIn": {"same": True, "device": "by passkey"},
        "overRest": {
            "email": ada.email,
            "again": [400, "AUTH_ERROR_REASON_PASSKEY_CHALLENGE_INVALID"],
        },
        "credential": {"resident": True, "rpId": "localhost", "count": 4},
        "unverified": "NotAllowedError",
        "stranger": "AUTH_ERROR_REASON_PASSKEY_ORIGIN_REJECTED",
        "clone": "AUTH_ERROR_REASON_PASSKEY_COUNT_REGRESSED",
        "removed": [["Ada's laptop", True]],
        "afterwards": "AUTH_ERROR_REASON_PASSKEY_REJECTED",
    }
