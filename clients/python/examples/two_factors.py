"""Turns two-factor sign-in on for an account, with a QR picture in the terminal, and signs in with it.

pip install segno
python two_factors.py 127.0.0.1:8080 ada@example.com "her password"
"""

import asyncio
import sys

import segno

import greenroom_client
from greenroom.auth.v1 import mfa_service_pb2 as mfa


async def main(address: str, email: str, password: str) -> None:
    async with greenroom_client.connect(address) as client:
        await client.log_in(email=email, password=password)
        made = await client.mfa.CreateMfaFactor(mfa.CreateMfaFactorRequest(label="My phone"))
        print("Point an authenticator app at this picture, or type in the secret below it.")
        segno.make(made.otpauth_uri).terminal(compact=True)
        print(made.secret)
        activated = await client.mfa.ActivateMfaFactor(
            mfa.ActivateMfaFactorRequest(
                factor_id=made.factor.id,
                totp_code=await asyncio.to_thread(input, "The code it shows: "),
            )
        )
        print("Backup codes, to be kept in a safe place; each works once:")
        print("\n".join(activated.backup_codes))
        await client.log_out()

        try:
            await client.log_in(email=email, password=password)
        except greenroom_client.SecondFactorNeeded as needed:
            code = await asyncio.to_thread(
                input, "To sign in again, the next code of the app, or a backup code: "
            )
            if len(code) == 6:
                signed_in = await client.complete_mfa(needed.challenge, totp=code)
            else:
                signed_in = await client.complete_mfa(needed.challenge, backup_code=code)
            print("Hello,", signed_in.user.display_name)


asyncio.run(main(*sys.argv[1:]))
