"""Compiles a proto of the tests, so that no generated code of theirs is kept."""

import importlib.util
import tempfile
from functools import cache
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_tools import protoc

ROOT = Path(__file__).parents[2]


@cache
def compiled(path: Path) -> FileDescriptor:
    """The file's descriptor in the default pool; what it imports must be imported already."""
    # The options must be known to Python before the file is added, or they stay unknown fields.
    for needed in ("greenroom.options.v1.policy_pb2", "buf.validate.validate_pb2"):
        __import__(needed)
    return descriptor_pool.Default().AddSerializedFile(descriptor_bytes(path).SerializeToString())


def descriptor_bytes(path: Path, text: str | None = None) -> descriptor_pb2.FileDescriptorProto:
    """What protoc makes of a file, or of ``text`` under the file's name; not added to any pool."""
    tools = importlib.util.find_spec("grpc_tools")
    assert tools is not None and tools.origin is not None
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, path.name)
        source.write_text(path.read_text() if text is None else text)
        out = Path(scratch, "out.binpb")
        status = protoc.main(
            [
                "protoc",
                f"-I{scratch}",
                f"-I{ROOT / 'proto'}",
                f"-I{ROOT / 'proto/third_party'}",
                f"-I{Path(tools.origin).parent / '_proto'}",
                f"--descriptor_set_out={out}",
                str(source),
            ]
        )
        assert status == 0, f"protoc refused {path.name}"
        (file,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
        return file
