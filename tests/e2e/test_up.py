"""`python -m server up`: how it starts, refuses to start, and ends."""

import os
import shlex
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.site import Site, environment, refused, running, wait_until

CPU_SECONDS = 3.0
"""What a second start may cost in all: on a free machine it is then done in less."""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Site]:
    """A group that the test may end as it likes."""
    with running(tmp_path, drain_seconds=5) as site:
        yield site


def assert_one_line(found: tuple[int, str], *words: str) -> None:
    status, said = found
    assert status == 1, said
    assert said.count("\n") == 0, said
    assert [word for word in words if word not in said] == [], said


def processes_of(site: Site) -> list[psutil.Process]:
    return psutil.Process(site.process.pid).children(recursive=True)


# Starting.


def test_the_banner_says_where_everything_is(own: Site) -> None:
    port = own.environ["HTTP_PORT"]
    text = wait_until(lambda: own.output if "Ctrl-C" in own.output else "", "the whole banner")
    for word in (f":{port}", "REST", "gRPC-web", "gRPC", "Ctrl-C", "make demo"):
        assert word in text
    assert str(own.state_dir / "mail") in text


def test_the_first_thing_to_try_works(own: Site) -> None:
    """The command of the banner, sent as curl sends it."""
    line = wait_until(lambda: [each for each in own.lines if "curl" in each], "the command")[0]
    words = shlex.split(line[line.index("curl") :])
    headers = {"content-type": "application/x-www-form-urlencoded"}
    reply = httpx.post(words[1], content=words[words.index("-d") + 1], headers=headers)
    assert reply.status_code == 200, reply.text


def test_what_it_keeps_is_its_users_alone(own: Site) -> None:
    own.person()
    folders = [own.state_dir, *(path for path in own.state_dir.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    for path in (own.state_dir / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_lines_say_whose_they_are(own: Site) -> None:
    httpx.get(f"{own.url}/v1/auth/me")
    wait_until(lambda: [line for line in own.lines if "GetMe" in line], "a line of the call")
    line = next(line for line in own.lines if "GetMe" in line)
    assert line.startswith("server")
    assert "UNAUTHENTICATED" in line


def test_a_second_start_is_quick(own: Site, tmp_path: Path) -> None:
    assert own.stop() == 0
    again = Site(own.environ, tmp_path)
    try:
        seconds = again.wait_until_up()
        group = [psutil.Process(again.process.pid), *again.family]
        used = sum(process.cpu_times().user + process.cpu_times().system for process in group)
        assert used < CPU_SECONDS, f"{used:.1f} s of processor time, {seconds:.1f} s in all"
        assert again.stop() == 0
    finally:
        again.kill()


def test_ports_may_be_left_to_it(tmp_path: Path) -> None:
    with running(tmp_path, http_port=0, grpc_port=0, metrics_port=0) as site:
        (line,) = [line for line in site.lines if line.strip().startswith("REST")]
        url = line.split()[1].removesuffix("/v1/...")
        assert httpx.get(f"{url}/healthz").status_code == 200
        assert site.stop() == 0


# Refusing to start.


def test_a_group_that_runs_already(own: Site, tmp_path: Path) -> None:
    assert_one_line(refused(tmp_path, own.environ), "already", str(own.process.pid), "STATE_DIR")
    elsewhere = {**environment(own.state_dir), "STATE_DIR": own.environ["STATE_DIR"]}
    assert_one_line(refused(tmp_path, elsewhere), "already")
    assert httpx.get(f"{own.url}/healthz").status_code == 200


@pytest.mark.parametrize("name", ["HTTP_PORT", "GRPC_PORT", "METRICS_PORT"])
def test_a_taken_port(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environ = {**environment(tmp_path / "state"), name: port}
        assert_one_line(refused(tmp_path, environ), port, name)


def test_two_settings_with_one_port(tmp_path: Path) -> None:
    environ = environment(tmp_path / "state")
    environ["GRPC_PORT"] = environ["HTTP_PORT"]
    assert_one_line(refused(tmp_path, environ), "GRPC_PORT")


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    environ = environment(tmp_path / "state", database_url="postgresql://nobody@127.0.0.1:1/none")
    assert_one_line(refused(tmp_path, environ), "DATABASE_URL")


# Ending.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_in_order(own: Site, number: signal.Signals) -> None:
    own.process.send_signal(number)
    assert own.wait() == 0, own.output
    assert any("stopped" in line for line in own.lines if line.startswith("server"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_that_arrives_twice_is_one(own: Site, number: signal.Signals) -> None:
    """As when make, or whoever stops a whole group of processes, hands it on as well."""
    own.process.send_signal(number)
    time.sleep(0.05)
    own.process.send_signal(number)
    assert own.wait() == 0, own.output
    assert any("stopped" in line for line in own.lines if line.startswith("server"))


def test_a_second_ctrl_c_kills(own: Site) -> None:
    own.child("serve").suspend()  # so that it cannot drain
    own.interrupt()
    wait_until(lambda: "drain" in own.output, "the first Ctrl-C to be taken")
    time.sleep(0.6)  # two keystrokes, not one that arrived twice
    own.interrupt()
    assert own.wait(5) == 130


@pytest.mark.parametrize("name", ["serve", "envoy"])
def test_one_crash_ends_all(own: Site, name: str) -> None:
    own.child(name).kill()
    assert own.wait() == 1
    assert "SIGKILL" in own.output
    assert ("last lines" in own.output) == (name == "serve")


def test_nothing_survives_the_supervisor(own: Site) -> None:
    family = processes_of(own)
    assert len(family) == 2
    own.process.kill()
    own.process.wait()
    _gone, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    again = Site(own.environ, own.state_dir.parent)
    try:
        again.wait_until_up()
        assert again.stop() == 0
    finally:
        again.kill()


def test_a_signal_to_the_whole_terminal(tmp_path: Path) -> None:
    """Ctrl-C reaches every process in the foreground; the children are not among them."""
    with running(tmp_path, drain_seconds=5) as site:
        groups = {os.getpgid(process.pid) for process in processes_of(site)}
        assert os.getpgid(site.process.pid) not in groups
        assert len(groups) == 2


@pytest.mark.parametrize("line", ["migrated", "serving gRPC"])
def test_ctrl_c_while_it_starts(tmp_path: Path, line: str) -> None:
    site = Site(environment(tmp_path / "state"), tmp_path)
    try:
        wait_until(lambda: line in site.output, "it to begin")
        site.family = processes_of(site)
        site.interrupt()
        site.wait()
        assert "Traceback" not in site.output
    finally:
        site.kill()
