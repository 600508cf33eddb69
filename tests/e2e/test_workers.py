"""`make run WORKERS=2`: how several servers start, are kept, and end."""

import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.pair import Pair, of_banner, two_servers
from tests.support.site import PASSWORD, Site, environment, refused, wait_until

CPU_SECONDS = 6.5
"""What a second start may cost in all: two servers, Envoy, PostgreSQL and Valkey."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A group for all tests that leave it as they found it."""
    folder: Path = tmp_path_factory.mktemp("workers")
    with two_servers(folder) as started:
        yield started
        assert started.site.stop() == 0, started.site.output


def is_well(site: Site) -> bool:
    try:
        return httpx.get(f"{site.url}/.well-known/jwks.json", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


# Starting.


def test_both_serve_and_say_who_they_are(pair: Pair) -> None:
    for _ in range(40):
        httpx.get(f"{pair.site.url}/v1/auth/me")
    for server in pair.servers:
        wait_until(
            lambda name=server.name: [
                line for line in pair.site.lines if line.startswith(f"{name} | UNAUTHENTICATED")
            ],
            f"a line of {server.name}",
        )


def test_the_banner_names_what_is_beside_them(pair: Pair) -> None:
    assert "PostgreSQL" in of_banner(pair.site, "database")
    assert "Valkey" in of_banner(pair.site, "bus")
    assert len({server.address for server in pair.servers}) == 2
    for server in pair.servers:
        assert httpx.get(server.metrics).status_code == 200


def test_what_they_share_is_their_users_alone(pair: Pair) -> None:
    """Other users of the machine reach the ports, so both ask for a password, which they cannot read."""
    state = pair.site.state_dir
    for folder in (state, state / "postgres", state / "postgres/data", state / "valkey"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in (state / "postgres/password", state / "valkey/valkey.conf"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "scram-sha-256" in (state / "postgres/data/pg_hba.conf").read_text()
    assert "requirepass" in (state / "valkey/valkey.conf").read_text()


def test_a_second_start_is_quick_and_finds_what_was_there(tmp_path: Path) -> None:
    with two_servers(tmp_path) as pair:
        ann = pair.site.person("ann")
        assert pair.site.stop() == 0, pair.site.output
        again = Site(pair.site.environ, tmp_path, workers=2)
        try:
            seconds = again.wait_until_up()
            group = [psutil.Process(again.process.pid), *again.family]
            used = sum(p.cpu_times().user + p.cpu_times().system for p in group)
            assert used < CPU_SECONDS, f"{used:.1f} s of processor time, {seconds:.1f} s in all"
            assert "migrated" not in again.output
            body = {"email": ann.email, "password": PASSWORD}
            assert httpx.post(f"{again.url}/v1/auth:logIn", json=body).status_code == 200
            assert again.stop() == 0
        finally:
            again.kill()


# Refusing to start.


@pytest.mark.parametrize(
    ("workers", "settings", "words"),
    [
        ("2", {"database_url": "sqlite:///x.db"}, ("DATABASE_URL", "SQLite", "one process")),
        ("2", {"bus_url": "memory://"}, ("BUS_URL", "memory://", "one process")),
        ("0", {}, ("WORKERS", "'0'", "1 to 64")),
        ("many", {}, ("WORKERS", "'many'")),
        ("2", {"grpc_port": 65535}, ("GRPC_PORT", "65536")),
        ("2", {"database_url": "postgresql://nobody@127.0.0.1:1/none"}, ("DATABASE_URL",)),
    ],
    ids=["sqlite", "memory", "none", "words", "ports", "database"],
)
def test_what_cannot_be_is_said_in_one_line(
    tmp_path: Path, workers: str, settings: dict[str, object], words: tuple[str, ...]
) -> None:
    environ = environment(tmp_path / "state", **{"grpc_port": 0, "metrics_port": 0, **settings})
    status, said = refused(tmp_path, environ, "--workers", workers)
    assert status == 1, said
    assert said.count("\n") == 0, said
    assert [word for word in words if word not in said] == [], said


def test_a_server_that_cannot_start_ends_all(tmp_path: Path) -> None:
    """Nothing has served yet, so nothing is kept alive for."""
    environ = environment(tmp_path / "state", encryption_key="broken", grpc_port=0, metrics_port=0)
    status, said = refused(tmp_path, environ, "--workers", "2")
    assert status == 1
    assert "ENCRYPTION_KEY" in said
    assert "so all do" in said


# Falling and rising.


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_ends_is_started_again(pair: Pair, number: signal.Signals) -> None:
    for server in pair.servers:
        fallen = server.process(pair.site)
        with pair.restarted(server.name):
            fallen.send_signal(number)
            psutil.wait_procs([fallen], timeout=15)
            wait_until(lambda: is_well(pair.site), "the other one to serve", 10)
            assert server.process(pair.site).pid != fallen.pid
    how = "SIGKILL" if number == signal.SIGKILL else "status 0"
    assert f"{pair.servers[0].name} has ended with {how}" in pair.site.output


def test_both_servers_may_fall_at_once(pair: Pair) -> None:
    one, other = pair.servers
    with pair.restarted(one.name), pair.restarted(other.name):
        for server in pair.servers:
            server.process(pair.site).kill()
    wait_until(lambda: is_well(pair.site), "calls to be served")


@pytest.mark.parametrize(
    ("name", "program"),
    [("envoy", "envoy"), ("valkey", "valkey-server"), ("postgres", "postgres")],
)
def test_what_is_beside_the_servers_is_started_again(pair: Pair, name: str, program: str) -> None:
    with pair.restarted(name):
        pair.site.child(program).kill()
    wait_until(lambda: is_well(pair.site), "calls to be served")
    pair.site.person(name)


# Ending.


def test_one_that_does_not_drain_is_killed_by_a_second_ctrl_c(tmp_path: Path) -> None:
    with two_servers(tmp_path) as pair:
        pair.servers[0].process(pair.site).suspend()
        pair.site.interrupt()
        wait_until(lambda: "drain" in pair.site.output, "the first Ctrl-C to be taken")
        time.sleep(0.6)  # two keystrokes, not one that arrived twice
        pair.site.interrupt()
        assert pair.site.wait(5) == 130


def test_nothing_survives_the_supervisor(tmp_path: Path) -> None:
    with two_servers(tmp_path) as pair:
        family = psutil.Process(pair.site.process.pid).children(recursive=True)
        pair.site.process.kill()
        pair.site.process.wait()
        _gone, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []
        again = Site(pair.site.environ, tmp_path, workers=2)
        try:
            again.wait_until_up()
            assert again.stop() == 0
        finally:
            again.kill()
