"""The command line: ``python -m server <command>``."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from server.core.config import Settings, SettingsError, hand_on, settings_from_environment


def _serve(settings: Settings, _arguments: argparse.Namespace) -> int:
    import uvloop

    hand_on(settings)

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


def _up(settings: Settings, arguments: argparse.Namespace) -> int:
    from server.edge.supervise import up

    return up(settings, arguments.workers)


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


def _admin(settings: Settings, arguments: argparse.Namespace) -> int:
    from server.auth.admin_command import create_admin
    from server.core.errors import GreenroomError
    from server.core.schema import SchemaOutdated

    line = b""
    if arguments.password_stdin:
        # One line, whatever its end; a password may begin or end with blanks.
        line = sys.stdin.buffer.readline().rstrip(b"\r\n")
    try:
        password = line.decode() if arguments.password_stdin else None
        made = create_admin(settings, arguments.email, password)
    except UnicodeDecodeError:
        print("The password is not text in UTF-8.", file=sys.stderr)
        return 1
    except (GreenroomError, SchemaOutdated) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Made the super_admin {made.email} ({made.user_id}).")
    if made.password:
        print(f"Password, shown this once: {made.password}")
    return 0


def _audit(settings: Settings, _arguments: argparse.Namespace) -> int:
    from server.auth.audit_command import verify
    from server.core.schema import SchemaError

    try:
        report = verify(settings)
    except SchemaError as error:
        print(error, file=sys.stderr)
        return 2
    tail = f"{report.unsealed} unsealed"
    if report.problem:
        print(f"BROKEN after {report.sealed} events: {report.problem} ({tail})")
        return 1
    print(f"OK: {report.sealed} events, {tail}, head {report.head or '-'}")
    return 0


def _keys(settings: Settings, arguments: argparse.Namespace) -> int:
    from server.auth.key_rotation import KeysFromSetting
    from server.core.errors import GreenroomError

    work = {"list": _list_keys, "rotate": _rotate_keys, "revoke": _revoke_key}[arguments.action]
    try:
        if settings.signing_key:
            raise KeysFromSetting
        work(settings, arguments)
    except (GreenroomError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _list_keys(settings: Settings, _arguments: argparse.Namespace) -> None:
    from server.auth.key_rotation import list_keys

    for key in list_keys(settings.keys_dir, datetime.now(UTC)):
        until = "" if key.until is None else f"  until {key.until.isoformat(timespec='seconds')}"
        print(f"{key.state:<8}  {key.kid}{until}")


def _rotate_keys(settings: Settings, arguments: argparse.Namespace) -> None:
    from server.auth.audit_actions import KEY_ROTATE
    from server.auth.key_rotation import rotate

    ahead = timedelta(seconds=arguments.after)
    made = rotate(settings.keys_dir, datetime.now(UTC), ahead)
    print(f"Made {made.kid}; it signs from {made.sign_from.isoformat(timespec='seconds')} on.")
    _audit_key(settings, KEY_ROTATE, made.kid)


def _revoke_key(settings: Settings, arguments: argparse.Namespace) -> None:
    from server.auth.audit_actions import KEY_REVOKE
    from server.auth.key_rotation import revoke

    heir = revoke(settings.keys_dir, arguments.kid, datetime.now(UTC))
    print(f"Revoked {arguments.kid}; {heir.kid} signs now. Running servers follow within seconds.")
    _audit_key(settings, KEY_REVOKE, arguments.kid)


def _audit_key(settings: Settings, action: str, kid: str) -> None:
    from server.auth.keys_command import audit_key_change

    if not audit_key_change(settings, action, kid):
        print("The database could not be reached: no audit row was written.", file=sys.stderr)


_COMMANDS: dict[str, tuple[Callable[[Settings, argparse.Namespace], int], str]] = {
    "up": (_up, "migrate, then run one server or several and Envoy as one foreground group"),
    "serve": (_serve, "run the gRPC server alone"),
    "worker": (_worker, "run the background jobs alone (WORKER=separate)"),
    "migrate": (_migrate, "bring the database to the newest schema"),
    "migration": (_migration, "write the next, empty migration"),
    "envoy-config": (_envoy_config, "print Envoy's configuration for the present settings"),
    "admin": (_admin, "make the first super_admin: admin create --email ADDRESS"),
    "audit": (_audit, "check the chain of the audit log: audit verify"),
    "keys": (_keys, "the signing keys: keys list, keys rotate, keys revoke KID"),
    "health": (_health, "exit 0 when the server says SERVING"),
}


def _add_key_actions(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="which key signs, and what the others do")
    rotate = actions.add_parser("rotate", help="a new key: published at once, signs later")
    rotate.add_argument(
        "--after",
        type=float,
        default=86_400,
        metavar="SECONDS",
        help="when it begins to sign, at least 30 s from now (a day)",
    )
    revoke = actions.add_parser("revoke", help="void a key and every token that it has signed")
    revoke.add_argument("kid", help="its id, as `keys list` shows it")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m server", description="Greenroom's server.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_run, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name == "up":
            command.add_argument(
                "--workers",
                default="1",
                metavar="N",
                help="server processes; several share PostgreSQL and Valkey, started where none is set",
            )
        if name == "migration":
            command.add_argument("name", help="what it does, in snake case")
        if name == "admin":
            command.add_argument("action", choices=["create"], help="make the first super_admin")
            command.add_argument("--email", required=True, help="its address, proven by your word")
            command.add_argument(
                "--password-stdin",
                action="store_true",
                help="read its password from standard input instead of making one",
            )
        if name == "audit":
            command.add_argument("action", choices=["verify"], help="exit 1 at a broken event")
        if name == "keys":
            _add_key_actions(command)
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
