"""What is shipped names only what exists: settings, files and commands."""

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.core.config import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
NAMES = [setting.name for setting in SETTINGS]
# Its default is the number of cores of whoever reads it.
MACHINE_DEPENDENT = {"HASH_WORKERS"}
# Variables that Python reads, not we.
PYTHON_OWN = {"PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def test_the_example_shows_every_setting_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text()
    shown = dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, re.MULTILINE))
    defaults = {
        setting.name: setting.default.replace("{state_dir}", ".greenroom") for setting in SETTINGS
    }
    assert list(shown) == NAMES
    different = {name for name in NAMES if shown[name] != defaults[name]}
    assert different <= MACHINE_DEPENDENT


def test_the_example_explains_every_setting() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    unexplained = [
        line
        for above, line in pairwise(lines)
        if re.match(r"#[A-Z_]+=", line) and not above.startswith("# ")
    ]
    assert unexplained == []


def test_docker_copies_what_is_there() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE)
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert [name for name in copied if f"!{name}" not in ignored] == []


def test_docker_and_compose_set_only_settings() -> None:
    block = re.search(r"^ENV (.*?[^\\])$", (ROOT / "Dockerfile").read_text(), re.M | re.S)
    assert block is not None
    named = set(re.findall(r"\b([A-Z_]+)=", block[1])) - PYTHON_OWN
    for service in compose()["services"].values():
        if service.get("image") == "greenroom:latest":
            named |= service["environment"].keys()
    assert named <= set(NAMES)


def test_every_part_of_compose_has_a_health_check() -> None:
    services = compose()["services"]
    assert services.keys() >= {"envoy", "server", "worker", "postgres", "valkey", "minio"}
    assert services["server"]["deploy"]["replicas"] == 2
    # The server's own check is in the image.
    unchecked = [name for name, service in services.items() if "healthcheck" not in service]
    assert unchecked == ["server"]
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_compose_accepts_its_file() -> None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], capture_output=True).returncode:
            continue
        done = subprocess.run([*command, "config"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return
    pytest.skip(reason="docker compose is not installed")


def test_locks_pin_every_package_and_name_no_index() -> None:
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-workers.lock"):
        blocks = re.split(r"^(?=[a-z0-9])", (ROOT / name).read_text(), flags=re.MULTILINE)[1:]
        assert blocks
        assert [
            b.split("\n")[0] for b in blocks if "==" not in b or "--hash=sha256:" not in b
        ] == []
        assert not re.search(r"--(extra-)?index-url|--find-links|https?://", "".join(blocks))


def test_make_has_its_targets() -> None:
    text = (ROOT / "Makefile").read_text()
    wanted = (
        "help setup generate format lint types test test-unit test-rpc test-contract test-e2e check"
        " run demo bench migrate migration clean"
    )
    assert [t for t in wanted.split() if not re.search(rf"^{t}:.*## ", text, re.MULTILINE)] == []
