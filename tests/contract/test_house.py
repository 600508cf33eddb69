"""The rules of the house that no linter knows: where things may stand, their names and their sizes.

Who may import whom in the large is import-linter's (pyproject.toml); here are the rules by kind of
file.
"""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / "server"
PROTO = ROOT / "proto/greenroom"

# Folders of server/ that are no product module.
MACHINERY = {"core", "wire", "edge"}
# Packages of protos that are no product module.
CONTRACTS = {"options", "wire"}
GRPC_WORDS = {"grpc", "grpc_health", "grpc_reflection", "grpc_status", "google", "greenroom", "buf"}
FORBIDDEN_WORDS = {
    "util",
    "utils",
    "common",
    "helper",
    "helpers",
    "base",
    "misc",
    "manager",
    "managers",
}
WRITTEN_BY_HAND = (
    "bench",
    "clients/python/examples",
    "clients/python/src/greenroom_client",
    "clients/typescript",
    "clients/web",
    "migrations",
    "proto/greenroom",
    "proto/plugins",
    "server",
    "tests",
)
NOT_OURS = {"node_modules", "__pycache__", "gen", "dist"}

FILE_LINES = 500
TEST_FILE_LINES = 400
FUNCTION_LINES = 60
SERVICER_METHOD_LINES = 20
SERVICE_RPCS = 15


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def server_files() -> list[Path]:
    return sorted(SERVER.rglob("*.py"))


def is_within(path: Path, *folders: str) -> bool:
    return path.relative_to(SERVER).parts[0] in folders


def may_know_grpc(path: Path) -> bool:
    """Presentation, the composition of a module, the wire, the edge and the composition root."""
    stems = {path.stem, path.parent.name}
    presentation = stems & {"servicer", "servicers", "convert"} or path.stem == "wiring"
    return is_within(path, "wire", "edge", "main.py", "__main__.py") or bool(presentation)


def is_servicer(path: Path) -> bool:
    return "servicer" in path.stem or path.parent.name == "servicers"


def is_presentation(path: Path) -> bool:
    return is_servicer(path) or path.stem == "convert" or path.parent.name == "convert"


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


def calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Calls of attributes, by the attribute's name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.lineno, node.func.attr


def offences(
    files: list[Path],
    find: Callable[[Path, ast.Module], Iterator[tuple[int, str]]],
) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in files
        for line, text in find(path, parse(path))
    ]


def test_grpc_and_generated_code_stay_above_convert() -> None:
    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        if may_know_grpc(path):
            return
        for line, name in imports(tree):
            if name.split(".")[0] in GRPC_WORDS:
                yield line, f"imports {name}"

    assert offences(server_files(), find) == []


def test_peewee_stays_below_the_use_case() -> None:
    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        if not (is_presentation(path) or is_within(path, "wire")):
            return
        for line, name in imports(tree):
            if name.split(".")[0] in {"peewee", "playhouse"}:
                yield line, f"imports {name}"

    assert offences(server_files(), find) == []


def test_rules_are_pure() -> None:
    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        if "rules" not in {path.stem, path.parent.name}:
            return
        forbidden = {"peewee", "playhouse", "asyncio", "threading", "socket", "os"}
        for line, name in imports(tree):
            if name.split(".")[0] in forbidden or name.split(".")[-1] in {"models", "db", "unit"}:
                yield line, f"imports {name}"

    assert offences(server_files(), find) == []


def test_the_environment_is_read_in_one_place() -> None:
    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        if path == SERVER / "core/config.py":
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "putenv"}:
                yield node.lineno, f"uses {node.attr}"
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                names = {alias.name for alias in node.names} & {"environ", "getenv", "putenv"}
                yield from ((node.lineno, f"imports {name}") for name in names)

    assert offences(server_files(), find) == []


def test_only_wire_sets_a_status() -> None:
    words = {"abort", "abort_with_status", "set_code", "set_details"}

    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        if is_within(path, "wire"):
            return
        yield from ((line, f"calls .{name}()") for line, name in calls(tree) if name in words)

    assert offences(server_files(), find) == []


def test_transactions_are_opened_by_the_unit_of_work_only() -> None:
    words = {"atomic", "transaction", "manual_commit", "session_start"}

    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        if is_within(path, "core"):
            return
        yield from ((line, f"calls .{name}()") for line, name in calls(tree) if name in words)

    assert offences(server_files(), find) == []


def test_tokens_are_decoded_in_two_modules() -> None:
    """Our own in one, those of providers in the other; whoever reads a JWT elsewhere may forget a
    check."""
    allowed = {SERVER / "auth/tokens.py", SERVER / "auth/id_tokens.py"}
    words = {"decode", "decode_complete", "get_unverified_header"}

    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        knows_jwt = any(
            name.split(".")[0] in {"jwt", "joserfc", "authlib"} for _, name in imports(tree)
        )
        if path in allowed or not knows_jwt:
            return
        yield from ((line, f"calls .{name}()") for line, name in calls(tree) if name in words)

    assert offences(server_files(), find) == []


def test_no_query_skips_rows_by_count() -> None:
    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        yield from ((line, "calls .offset()") for line, name in calls(tree) if name == "offset")
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and re.search(r"\bLIMIT\b.*\bOFFSET\b", text, re.DOTALL):
                yield node.lineno, "SQL with OFFSET"

    assert offences(server_files(), find) == []


def catches_all(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return bool(names & {"Exception", "BaseException"})


def hands_on(handler: ast.ExceptHandler) -> bool:
    """Whether the exception is raised again, or used for something else than a log line."""
    logged = {
        id(name)
        for call in ast.walk(handler)
        if isinstance(call, ast.Call) and is_logging(call)
        for name in ast.walk(call)
    }
    return any(
        isinstance(node, ast.Raise)
        or (isinstance(node, ast.Name) and node.id == handler.name and id(node) not in logged)
        for node in ast.walk(handler)
    )


def is_logging(call: ast.Call) -> bool:
    target = call.func.value if isinstance(call.func, ast.Attribute) else None
    return isinstance(target, ast.Name) and target.id in {"log", "logger", "logging"}


def keeps_the_traceback(handler: ast.ExceptHandler) -> bool:
    return any(name == "exception" for _, name in calls(handler))


def test_nothing_swallows_every_exception() -> None:
    """Machinery may go on after a failure that it logs with its traceback; product code may not."""

    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        for node in ast.walk(tree):
            if not isinstance(node, ast.ExceptHandler) or not catches_all(node) or hands_on(node):
                continue
            if not (is_within(path, *MACHINERY) and keeps_the_traceback(node)):
                yield node.lineno, "catches everything and hands on nothing"

    assert offences(server_files(), find) == []


def test_names_say_what_is_inside() -> None:
    found = []
    for folder in WRITTEN_BY_HAND:
        for path in (ROOT / folder).rglob("*"):
            inside = path.relative_to(ROOT)
            words = set(re.split(r"[_.-]", inside.name.lower()))
            if words & FORBIDDEN_WORDS and not set(inside.parts) & NOT_OURS:
                found.append(str(inside))
    assert found == []


def test_a_module_has_one_name_everywhere() -> None:
    modules = {path.parent.name for path in SERVER.glob("*/__init__.py")} - MACHINERY
    packages = {path.parent.name for path in PROTO.glob("*/v1")} - CONTRACTS
    assert modules == packages


def lines_of(path: Path) -> int:
    return path.read_text().count("\n")


def test_files_keep_their_size() -> None:
    found = []
    for folder in WRITTEN_BY_HAND:
        limit = TEST_FILE_LINES if folder == "tests" else FILE_LINES
        paths = [p for kind in ("*.py", "*.proto", "*.ts") for p in (ROOT / folder).rglob(kind)]
        for path in paths:
            inside = path.relative_to(ROOT)
            if not set(inside.parts) & NOT_OURS and lines_of(path) > limit:
                found.append(f"{inside}: {lines_of(path)} lines, at most {limit}")
    assert found == []


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the end."""
    statements = function.body
    if ast.get_docstring(function, clean=False) is not None:
        statements = statements[1:]
    if not statements:
        return 0
    return (statements[-1].end_lineno or 0) - statements[0].lineno + 1


def test_functions_keep_their_size() -> None:
    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            is_rpc = is_servicer(path) and node.name[0].isupper()
            limit = SERVICER_METHOD_LINES if is_rpc else FUNCTION_LINES
            if body_lines(node) > limit:
                yield node.lineno, f"{node.name}: {body_lines(node)} lines, at most {limit}"

    assert offences(server_files(), find) == []


def test_services_keep_their_size() -> None:
    found = []
    for path in PROTO.rglob("*.proto"):
        for block in re.split(r"^service ", path.read_text(), flags=re.MULTILINE)[1:]:
            service, body = block.split(None, 1)
            rpcs = len(re.findall(r"^  rpc ", body, re.MULTILINE))
            if rpcs > SERVICE_RPCS:
                found.append(f"{path.relative_to(ROOT)}: {service} has {rpcs} RPCs")
    assert found == []


NAMED_FILE = re.compile(r"`([\w./-]+\.(?:py|proto|yaml|toml|md|lock|ts|tsv|html)|[\w./-]+/)`")


IGNORED = set((ROOT / ".gitignore").read_text().split())


def is_there(name: str, home: Path) -> bool:
    """Whether a file that a README names exists: seen from the root, from the README's folder, or,
    for a bare name, anywhere below that folder. What git ignores is made by a command, and need not
    be there yet."""
    if any((folder / name).exists() for folder in (ROOT, home, SERVER)) or name in IGNORED:
        return True
    return "/" not in name and any(home.rglob(name))


@pytest.mark.parametrize(
    "readme",
    sorted(
        str(path.relative_to(ROOT))
        for folder in (".", "server", "proto", "clients/*", "tests", "tests/*", "bench")
        for path in ROOT.glob(f"{folder}/README.md")
    ),
)
def test_files_that_a_readme_names_exist(readme: str) -> None:
    text = (ROOT / readme).read_text()
    missing = {
        name for name in NAMED_FILE.findall(text) if not is_there(name, (ROOT / readme).parent)
    }
    assert missing == set()


def test_the_life_of_an_rpc_is_told_with_real_files() -> None:
    text = (SERVER / "README.md").read_text()
    assert len({name for name in NAMED_FILE.findall(text) if name.endswith(".py")}) >= 8
