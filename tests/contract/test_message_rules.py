"""Rules of whole messages: a caller is told of a field there, too."""

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2
from greenroom.auth.v1 import audit_service_pb2 as audit
from greenroom.auth.v1 import otp_service_pb2 as otp
from greenroom.auth.v1 import user_service_pb2 as users
from greenroom.chat.v1 import message_service_pb2 as messages
from server.core.errors import InvalidArgument
from server.wire.validation import _validate
from tests.support.services import all_methods

ID = "01890000-0000-7000-8000-000000000001"
EMAIL = "a@example.com"
TIME = {"seconds": 5}


def _rules() -> Iterator[tuple[Descriptor, str]]:
    for descriptor in {method.input_type for method in all_methods()}:
        for rule in descriptor.GetOptions().Extensions[validate_pb2.message].cel:
            yield descriptor, rule.id


def test_the_id_of_a_rule_ends_with_a_field() -> None:
    rules = list(_rules())
    assert len(rules) >= 6
    named = [
        (each.full_name, rule)
        for each, rule in rules
        if rule.rpartition(".")[2] not in each.fields_by_name
    ]
    assert named == []


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (
            messages.ListMessagesRequest(channel_id=ID, before_seq=1, around_seq=4),
            "around_seq",
        ),
        (
            messages.ListMessagesRequest(channel_id=ID, before_seq=1, after_seq=0),
            "after_seq",
        ),
        (otp.VerifyOtpRequest(code="123456"), "otp_id"),
        (
            otp.StartOtpRequest(purpose=otp.OTP_PURPOSE_VERIFY_PHONE, email="a@example.com"),
            "phone",
        ),
        (
            otp.StartOtpRequest(purpose=otp.OTP_PURPOSE_MAGIC_LINK, phone="+491701234567"),
            "email",
        ),
        (
            otp.StartOtpRequest(purpose=otp.OTP_PURPOSE_SIGN_IN, email="a@example.com", otp_id=ID),
            "otp_id",
        ),
        (users.CreateUserRequest(display_name="Ada"), "email"),
        (audit.ListAuditEventsRequest(start_time=TIME, end_time=TIME), "end_time"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_broken_rule_names_its_field(request_: Message, field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        _validate(request_)
    assert field in [violation.field for violation in raised.value.violations]
    assert all(violation.field for violation in raised.value.violations)
