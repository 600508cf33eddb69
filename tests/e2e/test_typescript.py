"""The TypeScript client in Node: its own tests, its first program, and a visit through Envoy."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.cable import Cable
from tests.support.node import TYPESCRIPT, installed_typescript, node_environment, program
from tests.support.site import PASSWORD, Person, Site, running

PROGRAM_SECONDS = 60


@pytest.fixture(scope="module")
def typescript() -> Path:
    """The folder of the client, built."""
    folder = installed_typescript()
    npm(folder, "build")
    return folder


def npm(folder: Path, script: str) -> None:
    """Runs one of the client's scripts."""
    done = subprocess.run(
        ["npm", "run", "--silent", script],
        cwd=folder,
        env=node_environment(),
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def say(site: Site, one: Person, channel_id: str, text: str) -> None:
    """Somebody writes a message."""
    reply = httpx.post(
        f"{site.url}/v1/chatChannels/{channel_id}/messages",
        json={"clientId": os.urandom(8).hex(), "text": text},
        headers=one.headers,
        timeout=20,
    )
    reply.raise_for_status()


def test_its_own_tests_pass(typescript: Path) -> None:
    npm(typescript, "typecheck")
    npm(typescript, "test")


def test_the_readme_holds_the_first_program() -> None:
    readme = (TYPESCRIPT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"```ts\n(.*?)```", readme, re.DOTALL)
    assert shown[0] == (TYPESCRIPT / "examples/first.ts").read_text(encoding="utf-8")


def test_no_file_names_a_registry() -> None:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        text = (TYPESCRIPT / name).read_text(encoding="utf-8")
        assert '"resolved"' not in text
        assert "registry=" not in text


def test_the_first_program_runs(typescript: Path, site: Site) -> None:
    """It says hello, and hears the answer live."""
    ada, bob = site.person("ada"), site.person("bob")
    command = (str(typescript / "dist/examples/first.js"), ada.email, PASSWORD, bob.id)
    with program(*command, GREENROOM_URL=site.url) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "I said: Hello!\n"
        say(site, bob, site.channel(bob, ada), "Bye!")
        assert first.stdout.read() == "They said: Bye!\n"
        assert first.wait() == 0


@pytest.mark.parametrize("transport", ["grpc", "grpc-web"])
def test_a_visit(typescript: Path, site: Site, tmp_path: Path, transport: str) -> None:
    """Reasons and fields across the wire, a kept session, a stream that is cut, pages, a log-out."""
    ada, bob = site.person("ada"), site.person("bob")
    with Cable(site.address) as cable:

        def cut() -> None:
            cable.cut()
            for text in ("two", "three"):
                say(site, bob, site.channel(bob, ada), text)
            cable.mend()

        asked: dict[str, Callable[[], None]] = {"cut, send two and three, mend": cut}
        plan = {
            "transport": transport,
            "url": f"http://{cable.address}",
            "email": ada.email,
            "password": PASSWORD,
            "bob": bob.id,
            "file": str(tmp_path / "tokens.json"),
        }
        with program(str(typescript / "dist/tests/visit.js"), json.dumps(plan)) as visit:
            assert visit.stdin is not None
            assert visit.stdout is not None
            lines = []
            for line in visit.stdout:
                lines.append(line.strip())
                if lines[-1] in asked:
                    asked[lines[-1]]()
                    print(file=visit.stdin, flush=True)
            assert visit.wait() == 0
    assert lines == [*asked, "done"]


def test_two_factors_and_a_device_list(typescript: Path, site: Site) -> None:
    """An authenticator app is enrolled and logs in, backup codes stand in for it, devices are signed out."""
    plan = {"url": site.url, "email": site.person("ada").email, "password": PASSWORD}
    with program(str(typescript / "dist/tests/factors.js"), json.dumps(plan)) as visit:
        assert visit.stdout is not None
        assert visit.stdout.read() == "done\n"
        assert visit.wait() == 0


def web_key(site: Site) -> str:
    """A key for the storage of a web framework, of the first super_admin, who is made for it."""
    address, password = "root@example.com", "a very long sentence about tea"
    command = ("admin", "create", "--email", address, "--password-stdin")
    subprocess.run(
        [sys.executable, "-m", "server", *command],
        env=site.environ,
        input=password,
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
        check=True,
    )
    with httpx.Client(base_url=site.url, timeout=20) as rest:
        reply = rest.post("/v1/auth:logIn", json={"email": address, "password": password})
        tokens = reply.raise_for_status().json()["signedIn"]["tokens"]
        rest.headers["authorization"] = f"Bearer {tokens['accessToken']}"
        body = {"name": "Auth.js", "scopes": ["auth.web_storage"]}
        return str(rest.post("/v1/auth/apiKeys", json=body).raise_for_status().json()["key"])


def test_auth_js_keeps_everything_here(typescript: Path, tmp_path: Path) -> None:
    """The real @auth/core signs people in, by a mailed link and with an OpenID provider."""
    with running(tmp_path) as site:
        plan = {"url": site.url, "apiKey": web_key(site)}
        with program(str(typescript / "dist/tests/authjs.js"), json.dumps(plan)) as visit:
            assert visit.stdout is not None
            assert visit.stdout.read() == "done\n", site.output
            assert visit.wait() == 0
        found = httpx.get(
            f"{site.url}/v1/web/users/0192f0c0-0000-7000-8000-000000000001",
            headers={"authorization": f"Bearer {plan['apiKey']}"},
        )
        assert (found.status_code, found.json()) == (200, {})
