"""Signs in with Google: ``python google_sign_in.py 127.0.0.1:8080 4711``.

Google sends the browser back to a port of this machine (RFC 8252, section 7.3). The server needs
OAUTH_GOOGLE_CLIENT_ID and OAUTH_GOOGLE_CLIENT_SECRET, and in OAUTH_REDIRECT_URIS
``http://127.0.0.1:4711/callback``.
"""

import asyncio
import sys
import webbrowser
from urllib.parse import parse_qs, urlsplit

import greenroom_client
from greenroom.auth.v1 import oauth_service_pb2 as oauth

PAGE = b"<!doctype html><title>Greenroom</title><p>You can close this page."


async def callback(port: int) -> dict[str, str]:
    """What the browser comes back with."""
    came: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readline()).decode("latin-1").split(" ")[1]
        parts = urlsplit(target)
        found = parts.path == "/callback"
        status = b"200 OK" if found else b"404 Not Found"
        body = PAGE if found else b""
        writer.write(
            b"HTTP/1.1 %s\r\ncontent-type: text/html\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%s" % (status, len(body), body)
        )
        await writer.drain()
        writer.close()
        if found and not came.done():
            came.set_result({name: values[0] for name, values in parse_qs(parts.query).items()})

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    async with server:
        return await came


async def main(address: str, port: str) -> None:
    async with greenroom_client.connect(address) as client:
        begun = await client.oauth.StartOAuth(
            oauth.StartOAuthRequest(
                provider="google",
                redirect_uri=f"http://127.0.0.1:{port}/callback",
                purpose=oauth.AUTHORIZATION_PURPOSE_SIGN_IN,
            )
        )
        print("If no browser opens, go to", begun.authorization_url)
        waiting = asyncio.create_task(callback(int(port)))
        await asyncio.to_thread(webbrowser.open, begun.authorization_url)
        query = await waiting
        request = oauth.CompleteOAuthRequest(
            state=query.get("state", ""), binding_secret=begun.binding_secret
        )
        if "code" in query:
            request.code = query["code"]
        else:
            request.error = query.get("error", "no answer")
        try:
            signed_in = await client.complete_oauth(request)
        except greenroom_client.SecondFactorNeeded:
            print("The account has a second factor: examples/two_factors.py shows what comes next.")
        else:
            print("Hello,", signed_in.user.display_name)


asyncio.run(main(*sys.argv[1:]))
