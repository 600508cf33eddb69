"""The contract options: every real method has them, and each lack stops the server."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from server.wire.policies import ContractError, check_contract
from tests.support.protos import descriptor_bytes
from tests.support.services import all_methods

HEAD = """
syntax = "proto3";
package greenroom.lack{number};
import "greenroom/options/v1/policy.proto";
message Request {{ string request_id = 1; }}
message Response {{ {response} }}
message ListThingsRequest {{ int32 page_size = 1; }}
message UpdateThingRequest {{ string id = 1; }}
service LackService {{ rpc {rpc} {{ {options} }} }}
"""
POLICY = "option (greenroom.options.v1.policy) = {access: [ACCESS_USER]};"
NATURAL = "option (greenroom.options.v1.idempotency) = {kind: KIND_NATURAL};"
READ = "option idempotency_level = NO_SIDE_EFFECTS;"
BY_ID = "option (greenroom.options.v1.idempotency) = {kind: KIND_REQUEST_ID};"

LACKS = [
    ("Do(Request) returns (Response)", NATURAL, "", "has no policy"),
    (
        "Do(Request) returns (Response)",
        NATURAL + "option (greenroom.options.v1.policy) = {};",
        "",
        "lets nobody in",
    ),
    (
        "Do(Request) returns (Response)",
        NATURAL + "option (greenroom.options.v1.policy) = {access: [ACCESS_PUBLIC] step_up: true};",
        "",
        "public and yet",
    ),
    ("Do(Request) returns (Response)", POLICY, "", "has no idempotency"),
    (
        "Do(Request) returns (Response)",
        POLICY + "option (greenroom.options.v1.idempotency) = {kind: KIND_NONE};",
        "",
        "needs its reason",
    ),
    ("Do(UpdateThingRequest) returns (Response)", POLICY + BY_ID, "", "needs `string request_id`"),
    ("Do(Request) returns (stream Response)", POLICY + BY_ID, "", "is for unary methods"),
    (
        "Do(Request) returns (Response)",
        POLICY + BY_ID,
        "string token = 1 [(greenroom.options.v1.secret) = true];",
        "cannot be stored",
    ),
    ("Do(Request) returns (Response)", POLICY + NATURAL, "string api_key = 1;", "not marked"),
    ("ListThings(ListThingsRequest) returns (Response)", POLICY + READ, "", "next_page_token"),
    ("ListThings(ListThingsRequest) returns (Response)", POLICY + READ, "", "page_token"),
    ("UpdateThing(UpdateThingRequest) returns (Response)", POLICY + NATURAL, "", "update_mask"),
    ("UpdateThing(UpdateThingRequest) returns (Response)", POLICY + NATURAL, "", "etag"),
]


@pytest.mark.parametrize("number", range(len(LACKS)))
def test_a_lack_stops_the_server(number: int) -> None:
    rpc, options, response, said = LACKS[number]
    text = HEAD.format(number=number, rpc=rpc, options=options, response=response)
    file = descriptor_bytes(Path(f"lack{number}.proto"), text)
    added = descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    with pytest.raises(ContractError, match=said):
        check_contract(added.services_by_name["LackService"].methods)


def test_every_method_of_the_product_keeps_the_contract() -> None:
    methods = all_methods()
    assert len(methods) >= 17
    check_contract(methods)
