"""A request id outlives the process: after kill -9 a repeat gets the first reply."""

import tempfile
from pathlib import Path
from uuid import uuid4

import pytest
from grpc import aio

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom.auth.v1 import user_pb2
from tests.crash.target import Server, database
from tests.support.mails import token_for
from tests.support.serve import PASSWORD


async def test_a_repeat_after_kill(database_kind: str) -> None:
    with database(database_kind) as url, tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), url, "")
        await server.start()
        try:
            request = await _verified(server)
            server.kill()
            await server.start()
            async with greenroom_client.connect(server.address) as client:
                # The token is spent: without the stored reply this would be an error.
                reply = await client.auth.VerifyEmail(request)
                assert reply.email == "ada@example.com"
                request.token = "another"
                with pytest.raises(aio.AioRpcError) as raised:
                    await client.auth.VerifyEmail(request)
            reason = greenroom_client.reason_of(raised.value)
            assert reason == "WIRE_ERROR_REASON_REQUEST_ID_REUSED"
        finally:
            server.kill()


async def _verified(server: Server) -> pb.VerifyEmailRequest:
    async with greenroom_client.connect(server.address) as client:
        await client.auth.SignUp(
            pb.SignUpRequest(
                email="ada@example.com", password=PASSWORD, persona=user_pb2.PERSONA_CREATOR
            )
        )
        token = await token_for(server.mail_dir, "ada@example.com")
        request = pb.VerifyEmailRequest(token=token, request_id=str(uuid4()))
        await client.auth.VerifyEmail(request)
        return request
