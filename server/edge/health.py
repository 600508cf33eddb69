"""Asks a gRPC server for its health."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.edge.addresses import reachable_host


def is_serving(host: str, port: int, seconds: float = 1.0) -> bool:
    """True when the server as a whole says SERVING."""
    reached = reachable_host(host)
    target = f"[{reached}]:{port}" if ":" in reached else f"{reached}:{port}"
    with grpc.insecure_channel(target) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=seconds
            )
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
