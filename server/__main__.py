"""The command line: ``python -m server <command>``."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence

from server.core.config import Settings, SettingsError, settings_from_environment


def _serve(settings: Settings, _arguments: argparse.Namespace) -> int:
    import uvloop

    from server.main import serve
    from server.wire.logs import configure

    configure(settings.log_level, settings.log_format)
    uvloop.run(serve(settings))
    return 0


def _worker(settings: Settings, _arguments: argparse.Namespace) -> int:
    from server.main import work
    from server.wire.logs import configure

    configure(settings.log_level, settings.log_format)
    asyncio.run(work(settings))
    return 0


def _up(settings: Settings, _arguments: argparse.Namespace) -> int:
    from server.edge.supervise import up

    return up(settings)


def _migrate(settings: Settings, _arguments: argparse.Namespace) -> int:
    from server.core import schema

    for name in schema.migrate(settings.database_url):
        print(f"migrated {name}")
    return 0


def _migration(_settings: Settings, arguments: argparse.Namespace) -> int:
    from server.core import schema

    print(schema.create(arguments.name))
    return 0


def _envoy_config(settings: Settings, _arguments: argparse.Namespace) -> int:
    from server.edge.render import render_envoy

    print(render_envoy(settings))
    return 0


def _health(settings: Settings, _arguments: argparse.Namespace) -> int:
    from server.edge.health import is_serving

    serving = is_serving(settings.grpc_host, settings.grpc_port, 2.0)
    print("serving" if serving else "not serving")
    return 0 if serving else 1


_COMMANDS: dict[str, tuple[Callable[[Settings, argparse.Namespace], int], str]] = {
    "up": (_up, "migrate, then run the server and Envoy as one foreground group"),
    "serve": (_serve, "run the gRPC server alone"),
    "worker": (_worker, "run the background jobs alone (WORKER=separate)"),
    "migrate": (_migrate, "bring the database to the newest schema"),
    "migration": (_migration, "write the next, empty migration"),
    "envoy-config": (_envoy_config, "print Envoy's configuration for the present settings"),
    "health": (_health, "exit 0 when the server says SERVING"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m server", description="Greenroom's server.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_run, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name == "migration":
            command.add_argument("name", help="what it does, in snake case")
    arguments = parser.parse_args(argv)
    try:
        return _COMMANDS[arguments.command][0](settings_from_environment(), arguments)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
