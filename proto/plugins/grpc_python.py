"""Makes the gRPC stub generator inside grpcio-tools usable as a plugin of buf.

buf speaks the plugin protocol: a CodeGeneratorRequest on standard input, a CodeGeneratorResponse on
standard output. grpcio-tools only has the generator compiled into its own protoc, so the request's
descriptors are handed to that protoc as a descriptor set, and what it writes is sent back.
"""

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc


def generate(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    """Answers a plugin request; a failure of protoc becomes the response's error."""
    response = CodeGeneratorResponse(
        supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    with_services = {file.name for file in request.proto_file if file.service}
    wanted = [name for name in request.file_to_generate if name in with_services]
    if not wanted:
        return response
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder, "descriptors.binpb")
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        out = Path(folder, "out")
        out.mkdir()
        options = f"{request.parameter}:" if request.parameter else ""
        arguments = [f"--descriptor_set_in={descriptors}", f"--grpc_python_out={options}{out}"]
        code = protoc.main(["protoc", *arguments, *wanted])
        if code:
            response.error = f"grpc_python: protoc ended with {code}"
            return response
        for path in sorted(out.rglob("*.py")):
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text())
    return response


if __name__ == "__main__":
    reply = generate(CodeGeneratorRequest.FromString(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(reply.SerializeToString())
