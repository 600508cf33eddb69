import asyncio
import sys

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as auth


async def main(address: str, email: str, password: str) -> None:
    async with greenroom_client.connect(address) as client:
        await client.log_in(email=email, password=password)
        print("Hello,", (await client.auth.GetMe(auth.GetMeRequest())).user.display_name)


asyncio.run(main(*sys.argv[1:]))
