"""What tests with node and Chromium need, or the reason why they cannot run."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TYPESCRIPT = ROOT / "clients/typescript"
WEB = ROOT / "clients/web"
INSTALL_SECONDS = 100
OLDEST_NODE = 20


def node_environment() -> dict[str, str]:
    """The caller's environment, without a word of npm about itself."""
    quiet = {"NO_COLOR": "1", "npm_config_loglevel": "error", "npm_config_update_notifier": "false"}
    return {**os.environ, **quiet}


@cache
def _missing() -> str:
    """Why clients/typescript cannot be used here; empty when it can. Installs it when it is not."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        return f"node {version.strip()} is older than {OLDEST_NODE}"
    installed, lock = (
        TYPESCRIPT / "node_modules/.package-lock.json",
        TYPESCRIPT / "package-lock.json",
    )
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return ""
    try:
        done = subprocess.run(
            ["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund"],
            cwd=TYPESCRIPT,
            env=node_environment(),
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"npm ci took more than {INSTALL_SECONDS} s"
    # What is wrong with our own files is no reason to skip.
    assert "EUSAGE" not in done.stderr, done.stderr
    assert "EINTEGRITY" not in done.stderr, done.stderr
    return "" if done.returncode == 0 else f"npm ci failed: {done.stderr.strip()[:300]}"


def installed_typescript() -> Path:
    """The folder of the TypeScript client with its packages; skips the test where that is not to be."""
    if reason := _missing():
        pytest.skip(reason)
    return TYPESCRIPT


def chromium() -> str:
    """The browser; skips the test where there is none."""
    for name in (os.environ.get("CHROME"), "chromium", "chromium-browser", "google-chrome"):
        if name and (found := shutil.which(name)):
            return found
    pytest.skip(reason="Chromium is not installed, and CHROME names none")


@contextmanager
def program(
    *command: str, seconds: float = 60.0, **environ: str
) -> Iterator[subprocess.Popen[str]]:
    """A program of node that the test talks with by lines; it outlives neither the test nor its time."""
    with subprocess.Popen(
        ["node", *command],
        env={**node_environment(), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        guard = threading.Timer(seconds, running.kill)
        guard.start()
        try:
            yield running
        finally:
            guard.cancel()
            running.kill()


def visit(
    script: str, plan: dict[str, Any], answer: Callable[[dict[str, Any]], Any], seconds: float
) -> dict[str, Any]:
    """Has a script of clients/web/test act in Chromium, answers what it asks, returns how it ended."""
    command = (str(WEB / "test" / script), json.dumps(plan))
    with program(*command, seconds=seconds, CHROME=chromium()) as browser:
        assert browser.stdin is not None
        assert browser.stdout is not None
        for line in browser.stdout:
            said: dict[str, Any] = json.loads(line)
            if "done" in said:
                return said
            browser.stdin.write(json.dumps(answer(said)) + "\n")
            browser.stdin.flush()
        return {"done": False, "why": f"the browser ended with status {browser.wait()}"}
