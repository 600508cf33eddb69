"""The example that signs in with Google, with a browser that says yes at once."""

import asyncio
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.fake_google import FakeGoogle, Key
from tests.support.fake_oauth import CLIENT_ID, CLIENT_SECRET
from tests.support.processes import free_port
from tests.support.site import ROOT

BROWSER = """#!{python}
import sys, httpx
back = httpx.post(sys.argv[1], data={{"sub": "ada"}}).headers["location"]
assert httpx.get(back).status_code == 200
"""


async def test_the_example_says_hello(serve: Callable[..., Any], tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(BROWSER.format(python=sys.executable))
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    port = free_port()
    with FakeGoogle(Key("first")) as google:
        google.add("ada", "ada@example.com")
        server = await serve(
            oauth_redirect_uris=f"http://127.0.0.1:{port}/callback",
            oauth_google_client_id=CLIENT_ID,
            oauth_google_client_secret=CLIENT_SECRET,
            oauth_google_issuer=google.url,
        )
        google.now = server.clock.now
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "clients/python/examples/google_sign_in.py"),
            server.address,
            str(port),
            env={**os.environ, "BROWSER": f"{browser} %s"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(program.communicate(), 30)
    assert b"Hello, Person ada" in said, said.decode()
