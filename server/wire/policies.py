"""Reads the contract options from the descriptors, once for the process.

A method, list, update or secret that does not say what the contract demands stops the server from
starting: closed by default.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from greenroom.options.v1 import policy_pb2
from server.core.caller import ADMIN_ROLES

DEFAULT_DEADLINE_SECONDS = 30.0

_READ = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
_SECRET_NAME = re.compile(
    r"(^|_)(password|passphrase|secret|token|code|otp|pin|api_key|private_key|credential)s?$"
)
_NOT_SECRET = re.compile(
    r"^((next_)?(page|sync)_token|resume_token|country_code|language_code|code)$"
)
"""Sealed positions and well-known codes: names that look like secrets and are none."""


class ContractError(Exception):
    """The protos break the contract; the text lists every place."""


class MethodKind(StrEnum):
    """The four kinds of RPC."""

    UNARY = "unary"
    SERVER_STREAM = "server_stream"
    CLIENT_STREAM = "client_stream"
    BIDI_STREAM = "bidi_stream"

    @property
    def is_stream(self) -> bool:
        """True for every kind but unary."""
        return self is not MethodKind.UNARY


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Who is let in; made from ``Policy.access``, ``permission``, ``step_up`` and
    ``deleted_too``."""

    public: bool
    signed_in: bool
    roles: frozenset[str]
    service: bool
    unsigned: bool
    """True when the method itself checks a signature or a share link (WEBHOOK, GUEST)."""
    permission: str
    step_up: bool
    deleted_too: bool = False
    """True when a caller whose own account is deleted is let in as well."""
    any_user: bool = dataclasses.field(init=False)
    """True when whoever is signed in is let in, without a further look."""

    def __post_init__(self) -> None:
        any_user = self.signed_in and not self.permission and not self.step_up
        object.__setattr__(self, "any_user", any_user)


@dataclass(frozen=True, slots=True)
class MethodRule:
    """Everything the wire enforces for one method, taken from its descriptor."""

    full_name: str
    path: str
    kind: MethodKind
    request: type[Message]
    response: type[Message]
    access: AccessRule
    audit: bool
    deadline: float | None
    rate_class: str
    idempotency: str
    read_only: bool
    validated: bool
    """False when neither the request nor anything in it has a rule: no time goes into it."""


_ROLE_OF = {
    policy_pb2.ACCESS_CREATOR: ("creator",),
    policy_pb2.ACCESS_EDITOR: ("editor",),
    policy_pb2.ACCESS_BRAND: ("brand",),
    policy_pb2.ACCESS_STUDENT: ("student",),
    policy_pb2.ACCESS_TEACHER: ("teacher",),
    policy_pb2.ACCESS_AGENT: ("agent",),
    policy_pb2.ACCESS_ADMIN: tuple(sorted(ADMIN_ROLES)),
    policy_pb2.ACCESS_SUPER_ADMIN: ("super_admin",),
}
_SIGNED_IN = {
    policy_pb2.ACCESS_USER,
    policy_pb2.ACCESS_OWNER,
    policy_pb2.ACCESS_MEMBER,
    policy_pb2.ACCESS_GUILD_ADMIN,
}
_UNSIGNED = {policy_pb2.ACCESS_WEBHOOK, policy_pb2.ACCESS_GUEST}


@cache
def rule_of(
    method: MethodDescriptor, *, default_deadline: float = DEFAULT_DEADLINE_SECONDS
) -> MethodRule:
    """The rule of one method; ``ContractError`` when its options are not complete.

    ``default_deadline`` (seconds) is that of unary methods whose policy names none.
    """
    problems = problems_of(method)
    if problems:
        raise ContractError("\n".join(problems))
    options = method.GetOptions()
    policy = options.Extensions[policy_pb2.policy]
    read_only = options.idempotency_level == _READ
    kind = _kind(method)
    return MethodRule(
        full_name=method.full_name,
        path=f"/{method.containing_service.full_name}/{method.name}",
        kind=kind,
        request=GetMessageClass(method.input_type),
        response=GetMessageClass(method.output_type),
        access=_access(policy),
        audit=policy.audit,
        deadline=_deadline(policy, kind, default_deadline),
        rate_class=_rate_class(policy, kind, read_only),
        idempotency="NATURAL"
        if read_only
        else policy_pb2.Idempotency.Kind.Name(
            options.Extensions[policy_pb2.idempotency].kind
        ).removeprefix("KIND_"),
        read_only=read_only,
        validated=_has_rules(method.input_type),
    )


def _access(policy: policy_pb2.Policy) -> AccessRule:
    kinds = set(policy.access)
    return AccessRule(
        public=policy_pb2.ACCESS_PUBLIC in kinds,
        signed_in=bool(kinds & _SIGNED_IN),
        roles=frozenset(role for kind in kinds for role in _ROLE_OF.get(kind, ())),
        service=policy_pb2.ACCESS_SERVICE in kinds,
        unsigned=bool(kinds & _UNSIGNED),
        permission=policy.permission,
        step_up=policy.step_up,
        deleted_too=policy.deleted_too,
    )


def _deadline(policy: policy_pb2.Policy, kind: MethodKind, default: float) -> float | None:
    if policy.HasField("deadline"):
        return policy.deadline.seconds + policy.deadline.nanos / 1e9
    return None if kind.is_stream else default


def _rate_class(policy: policy_pb2.Policy, kind: MethodKind, read_only: bool) -> str:
    if policy.rate_class:
        return policy_pb2.RateClass.Name(policy.rate_class).removeprefix("RATE_CLASS_")
    if kind.is_stream:
        return "STREAM"
    return "READ" if read_only else "WRITE"


def _kind(method: MethodDescriptor) -> MethodKind:
    if method.client_streaming:
        return MethodKind.BIDI_STREAM if method.server_streaming else MethodKind.CLIENT_STREAM
    return MethodKind.SERVER_STREAM if method.server_streaming else MethodKind.UNARY


@cache
def problems_of(method: MethodDescriptor) -> tuple[str, ...]:
    """What the method's options and messages lack of the contract, one sentence each."""
    return tuple(_problems(method))


def _problems(method: MethodDescriptor) -> Iterator[str]:
    name = method.full_name
    options = method.GetOptions()
    yield from _policy_problems(name, options)
    read_only = options.idempotency_level == _READ
    yield from _idempotency_problems(method, options, read_only)
    if method.name.startswith("List"):
        yield from _list_problems(method)
    if method.name.startswith("Update"):
        yield from _update_problems(method)
    for message in (method.input_type, method.output_type):
        for field in fields_below(message):
            if _looks_secret(field) and not is_secret(field):
                yield f"{field.full_name}: is named like a secret and is not marked `secret`"


def _policy_problems(name: str, options: descriptor_pb2.MethodOptions) -> Iterator[str]:
    if not options.HasExtension(policy_pb2.policy):
        yield f"{name}: has no policy option"
        return
    policy = options.Extensions[policy_pb2.policy]
    if not policy.access or policy_pb2.ACCESS_UNSPECIFIED in policy.access:
        yield f"{name}: its policy lets nobody in (access is empty or unspecified)"
    if policy_pb2.ACCESS_PUBLIC in policy.access and (policy.permission or policy.step_up):
        yield f"{name}: is public and yet demands a permission or a step-up"


def _idempotency_problems(
    method: MethodDescriptor, options: descriptor_pb2.MethodOptions, read_only: bool
) -> Iterator[str]:
    name = method.full_name
    if read_only:
        if options.HasExtension(policy_pb2.idempotency):
            yield f"{name}: a method without side effects states no idempotency"
        return
    stated = options.Extensions[policy_pb2.idempotency]
    if stated.kind == policy_pb2.Idempotency.KIND_UNSPECIFIED:
        yield f"{name}: has no idempotency option"
    if stated.kind == policy_pb2.Idempotency.KIND_NONE and not stated.reason:
        yield f"{name}: idempotency NONE needs its reason"
    if stated.kind == policy_pb2.Idempotency.KIND_REQUEST_ID:
        field = method.input_type.fields_by_name.get("request_id")
        if field is None or field.type != FieldDescriptor.TYPE_STRING:
            yield f"{name}: idempotency REQUEST_ID needs `string request_id`"
        if _kind(method).is_stream:
            yield f"{name}: idempotency REQUEST_ID is for unary methods"
        for field in fields_below(method.output_type):
            if is_secret(field):
                yield f"{name}: a reply with the secret {field.full_name} cannot be stored"


def _list_problems(method: MethodDescriptor) -> Iterator[str]:
    for message, names in (
        (method.input_type, ("page_size", "page_token")),
        (method.output_type, ("next_page_token",)),
    ):
        for name in names:
            if name not in message.fields_by_name:
                yield f"{method.full_name}: a List needs {message.name}.{name}"


def _update_problems(method: MethodDescriptor) -> Iterator[str]:
    if "update_mask" not in method.input_type.fields_by_name:
        yield f"{method.full_name}: an Update needs update_mask"
    if not any(field.name == "etag" for field in fields_below(method.input_type)):
        yield f"{method.full_name}: an Update needs an etag"


def is_secret(field: FieldDescriptor) -> bool:
    """True when the field is marked ``secret``."""
    return bool(field.GetOptions().Extensions[policy_pb2.secret])


def _looks_secret(field: FieldDescriptor) -> bool:
    return (
        field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
        and _SECRET_NAME.search(field.name) is not None
        and not _NOT_SECRET.match(field.name)
    )


def fields_below(message: Descriptor) -> Iterator[FieldDescriptor]:
    """Every field of a message and of the messages in it, each message once."""
    seen: set[str] = set()
    waiting = [message]
    while waiting:
        current = waiting.pop()
        if current.full_name in seen:
            continue
        seen.add(current.full_name)
        for field in current.fields:
            yield field
            if field.message_type is not None:
                waiting.append(field.message_type)


def _has_rules(message: Descriptor) -> bool:
    from buf.validate import validate_pb2

    if message.GetOptions().HasExtension(validate_pb2.message):
        return True
    for field in fields_below(message):
        owner = field.message_type
        if field.GetOptions().HasExtension(validate_pb2.field):
            return True
        if owner is not None and owner.GetOptions().HasExtension(validate_pb2.message):
            return True
    return any(oneof.GetOptions().ByteSize() > 0 for oneof in message.oneofs)


def check_contract(methods: Iterable[MethodDescriptor]) -> None:
    """Raises ``ContractError`` that names every breach of the contract in the given methods."""
    problems = sorted({problem for method in methods for problem in problems_of(method)})
    if problems:
        raise ContractError("The protos break the contract:\n  " + "\n  ".join(problems))
