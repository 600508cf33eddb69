"""What the protos say about a method, as far as a client acts on it."""

from dataclasses import dataclass
from functools import cache

from google.protobuf import descriptor_pb2, descriptor_pool

from greenroom.options.v1 import policy_pb2

DEFAULT_DEADLINE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class MethodContract:
    """Whether a retry does no harm, the request carries an id, the method needs no caller."""

    repeatable: bool
    request_id: bool
    public: bool
    deadline: float


@cache
def contract_of(path: str) -> MethodContract:
    """The contract of a method by its path, such as ``/greenroom.auth.v1.AuthService/GetMe``."""
    service, _, name = path.removeprefix("/").partition("/")
    try:
        method = descriptor_pool.Default().FindMethodByName(f"{service}.{name}")
    except KeyError:
        return MethodContract(False, False, False, DEFAULT_DEADLINE_SECONDS)
    options = method.GetOptions()
    kind = options.Extensions[policy_pb2.idempotency].kind
    policy = options.Extensions[policy_pb2.policy]
    read = options.idempotency_level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
    by_id = kind == policy_pb2.Idempotency.KIND_REQUEST_ID
    return MethodContract(
        repeatable=read or by_id or kind == policy_pb2.Idempotency.KIND_NATURAL,
        request_id=by_id,
        public=list(policy.access) == [policy_pb2.ACCESS_PUBLIC],
        deadline=policy.deadline.seconds + policy.deadline.nanos / 1e9 or DEFAULT_DEADLINE_SECONDS,
    )
