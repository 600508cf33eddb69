"""Generates the committed code from the protos: `make generate`.

Everything is generated into a scratch folder first and then brought into the tree: files that did
not change keep their time stamps, files whose proto is gone are removed, and a failed run changes
nothing. With --check nothing is written; stale files are named, and the exit code says so.

Writes, below clients/
  python/src/greenroom/...                  messages, stubs and types of our protos
  python/src/greenroom/descriptors.binpb    all files with their imports, for Envoy and the server
  python/src/buf/validate/...               the options of protovalidate
  typescript/src/gen/...                    protobuf-es, where node is installed

and the routes of envoy.yaml that follow from the protos.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "clients/python/src"
TYPESCRIPT = ROOT / "clients/typescript"
PACKAGES = ("greenroom", "buf")


def run(*command: str, path: Path | None = None) -> None:
    """Runs a tool in the project's root and ends the program with its code when it fails."""
    environment = dict(os.environ)
    folders = [str(path)] if path else []
    folders += [str(Path(sys.executable).parent), environment.get("PATH", "")]
    environment["PATH"] = os.pathsep.join(folders)
    program = shutil.which(command[0], path=environment["PATH"])
    if program is None:
        sys.exit(f"generate: {command[0]} is missing; run `make setup`")
    done = subprocess.run([program, *command[1:]], cwd=ROOT, env=environment)
    if done.returncode:
        sys.exit(done.returncode)


def generate_python(out: Path) -> None:
    """Fills `out` with the Python packages and the descriptor set."""
    run("buf", "generate", "--output", str(out))
    for stub in out.rglob("*_pb2_grpc.pyi"):
        if not stub.with_suffix(".py").exists():
            stub.unlink()  # mypy_grpc writes one for protos without a service, too
    for package in PACKAGES:
        for folder in [out / package, *(p for p in (out / package).rglob("*") if p.is_dir())]:
            (folder / "__init__.py").touch()
        (out / package / "py.typed").touch()
    descriptors = out / "greenroom/descriptors.binpb"
    run(
        "buf",
        "build",
        "--as-file-descriptor-set",
        "--exclude-source-info",
        "--output",
        str(descriptors),
    )


def generate_typescript(out: Path) -> bool:
    """Fills `out` with the TypeScript code; False, and a line why, when it cannot be done here."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        print("generate: TypeScript left as it is, because node is not installed")
        return False
    if not (TYPESCRIPT / "package-lock.json").exists():
        print("generate: TypeScript left as it is, because its package-lock.json is missing")
        return False
    tools = TYPESCRIPT / "node_modules/.bin"
    if not (tools / "protoc-gen-es").exists():
        run("npm", "ci", "--no-audit", "--no-fund", "--prefix", str(TYPESCRIPT))
    run(
        "buf",
        "generate",
        "--template",
        str(TYPESCRIPT / "buf.gen.yaml"),
        "--output",
        str(out),
        path=tools,
    )
    return True


def compare(source: Path, target: Path) -> list[str]:
    """Says which files of `target` are not as in `source`, without a change."""
    wanted = {p.relative_to(source): p.read_bytes() for p in source.rglob("*") if p.is_file()}
    present = {
        p.relative_to(target): p.read_bytes()
        for p in target.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    names = sorted(wanted.keys() | present.keys())
    return [
        str((target / name).relative_to(ROOT))
        for name in names
        if wanted.get(name) != present.get(name)
    ]


def bring(source: Path, target: Path) -> list[str]:
    """Makes `target` equal to `source`; returns what changed."""
    changed: list[str] = []
    wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    for name in sorted(wanted):
        content = (source / name).read_bytes()
        destination = target / name
        if destination.exists() and destination.read_bytes() == content:
            continue
        destination.parent.mkdir(parents=True, exist_ok=True)
        fresh = destination.with_name(f".{destination.name}.new")
        fresh.write_bytes(content)
        fresh.replace(destination)
        changed.append(f"wrote {destination.relative_to(ROOT)}")
    present = [path for path in target.rglob("*") if path.is_file()] if target.exists() else []
    for path in present:
        if "__pycache__" not in path.parts and path.relative_to(target) not in wanted:
            path.unlink()
            changed.append(f"removed {path.relative_to(ROOT)}")
    for folder in sorted((p for p in target.rglob("*") if p.is_dir()), reverse=True):
        left = {entry.name for entry in folder.iterdir()} - {"__pycache__"}
        if not left:
            shutil.rmtree(folder)
    return changed


def main() -> None:
    """Generates all there is and says what changed, or what is stale."""
    check = "--check" in sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        python, typescript = Path(scratch, "python"), Path(scratch, "typescript")
        generate_python(python)
        pairs = [(python / package, PYTHON / package) for package in PACKAGES]
        if generate_typescript(typescript):
            pairs.append((typescript, TYPESCRIPT / "src/gen"))
        found = [line for pair in pairs for line in (compare(*pair) if check else bring(*pair))]
    print("\n".join(found) if found else "generate: everything is fresh")
    if check and found:
        sys.exit("generate: these files are not what the protos say; run `make generate`")
    # Reads the descriptor set that is in the tree by now.
    run(sys.executable, "-m", "server.edge.routes", "--check" if check else "--write")


if __name__ == "__main__":
    main()
