import time
from greenroom.auth.v1 import auth_service_pb2 as pb
from server.auth.models import Registration
from server.core.ids import new_id
from tests.rpc.auth.scenes import *


async def test_probe(server: Greenroom) -> None:
    await server.auth.SignUp(sign_up_request("flood@example.com"))
    token = await server.mailed_token("flood@example.com")

    def fill(unit: Unit) -> None:
        first = Registration.select().dicts().get()
        rows = [{**first, "id": new_id(), "user": None} for _ in range(20000)]
        for i in range(0, 20000, 1000):
            Registration.insert_many(rows[i : i + 1000]).execute()

    await in_unit(server, fill, write=True)
    t = time.monotonic()
    print(
        "VERIFY",
        (await server.auth.VerifyEmail(pb.VerifyEmailRequest(token=token))).email,
        time.monotonic() - t,
    )
