"""The rest of the table in ``security_events.py``: providers, one-time codes, staff, services."""

from typing import Any

from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom.auth.v1 import email_service_pb2 as email_pb
from greenroom.auth.v1 import identity_service_pb2 as identity_pb
from greenroom.auth.v1 import registration_service_pb2 as registration_pb
from greenroom.auth.v1 import user_service_pb2 as user_pb
from greenroom.auth.v1 import web_authenticator_service_pb2 as authenticator_pb
from greenroom.auth.v1 import web_verification_service_pb2 as verification_pb
from tests.rpc.auth import keys, oauth_scenes, otp_scenes, staff
from tests.rpc.auth.scenes import sign_up_request
from tests.rpc.auth.security_events import Act, Stage, event

# Providers.


async def _ready(stage: Stage, email: bool = True) -> str:
    """Somebody at the provider."""
    sub = str(10**9 + int(stage.fresh("")))
    stage.discord.add(sub, stage.address() if email else None)
    return sub


async def _trip(stage: Stage, sub: str, purpose: Any = oauth_scenes.SIGN_IN) -> oauth_scenes.Trip:
    return await oauth_scenes.travel(stage.server, "discord", sub, purpose)


@event("registration.sign_up", "session.log_in")
async def sign_up_with_a_provider(stage: Stage) -> Act:
    trip = await _trip(stage, await _ready(stage))
    return lambda: oauth_scenes.complete(stage.server, trip)


@event("session.log_in")
async def log_in_with_a_provider(stage: Stage) -> Act:
    sub = await _ready(stage)
    await oauth_scenes.complete(stage.server, await _trip(stage, sub))
    trip = await _trip(stage, sub)
    return lambda: oauth_scenes.complete(stage.server, trip)


@event("session.log_in OAUTH_STATE_INVALID")
async def log_in_with_the_state_of_another_browser(stage: Stage) -> Act:
    trip, other = [await _trip(stage, await _ready(stage)) for _ in range(2)]
    secret = other.begun.binding_secret
    return lambda: oauth_scenes.complete(stage.server, trip, binding_secret=secret)


@event("session.log_in LINK_REQUIRED")
async def log_in_with_the_address_of_somebody(stage: Stage) -> Act:
    ada, sub = await stage.server.person("Ada"), await _ready(stage)
    stage.discord.add(sub, ada.email)
    trip = await _trip(stage, sub)
    return lambda: oauth_scenes.complete(stage.server, trip)


@event("identity.link")
async def link_an_identity(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    trip = await _trip(stage, await _ready(stage), oauth_scenes.LINK)
    return lambda: oauth_scenes.link(stage.server, ada, trip)


@event("identity.link IDENTITY_TAKEN")
async def link_the_identity_of_somebody(stage: Stage) -> Act:
    ada, sub = await stage.server.person("Ada"), await _ready(stage)
    await oauth_scenes.complete(stage.server, await _trip(stage, sub))
    trip = await _trip(stage, sub, oauth_scenes.LINK)
    return lambda: oauth_scenes.link(stage.server, ada, trip)


@event("identity.unlink")
async def unlink_an_identity(stage: Stage) -> Act:
    ada, sub = await stage.server.person("Ada"), await _ready(stage)
    linked = await oauth_scenes.link_with(stage.server, ada, "discord", sub)
    request = identity_pb.UnlinkIdentityRequest(identity_id=linked.id)
    return lambda: stage.server.identities.UnlinkIdentity(request, metadata=ada.metadata)


# One-time codes, numbers and addresses.


@event("email.ask_change ACCEPTED")
async def ask_for_another_address(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    request = email_pb.ChangeEmailRequest(new_email=stage.address())
    return lambda: stage.server.emails.ChangeEmail(request, metadata=ada.metadata)


@event("email.change")
async def prove_another_address(stage: Stage) -> Act:
    ada, address = await stage.server.person("Ada"), stage.address()
    await stage.server.emails.ChangeEmail(
        email_pb.ChangeEmailRequest(new_email=address), metadata=ada.metadata
    )
    request = pb.VerifyEmailRequest(token=await stage.server.mailed_token(address))
    return lambda: stage.server.auth.VerifyEmail(request)


@event("otp.start ACCEPTED")
async def ask_for_a_code(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    return lambda: otp_scenes.start(stage.server, ada.email)


@event("session.log_in")
async def log_in_with_a_code(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    otp = await otp_scenes.start(stage.server, ada.email)
    code = await otp_scenes.mailed_code(stage.server, ada.email, 2)
    return lambda: otp_scenes.verify(stage.server, otp.otp_id, code)


@event("otp.verify BAD_CODE")
async def log_in_with_a_wrong_code(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    otp = await otp_scenes.start(stage.server, ada.email)
    code = await otp_scenes.mailed_code(stage.server, ada.email, 2)
    return lambda: otp_scenes.verify(stage.server, otp.otp_id, otp_scenes.another(code))


@event("phone.verify")
async def prove_the_number_of_a_sign_up(stage: Stage) -> Act:
    phone = otp_scenes.new_phone()
    signed_up = await otp_scenes.sign_up_by_phone(stage.server, phone)
    code = await otp_scenes.texted_code(stage.server, phone)
    return lambda: otp_scenes.verify(stage.server, signed_up.otp_id, code)


@event("phone.change")
async def prove_another_number(stage: Stage) -> Act:
    ada, phone = await stage.server.person("Ada"), otp_scenes.new_phone()
    otp = await otp_scenes.change_phone(stage.server, ada, phone)
    code = await otp_scenes.texted_code(stage.server, phone)
    return lambda: otp_scenes.verify(stage.server, otp.otp_id, code)


# Staff.


async def _invited(stage: Stage) -> str:
    address = stage.address()
    await stage.server.users.CreateUser(
        user_pb.CreateUserRequest(email=address, send_invite=True), metadata=stage.staff.metadata
    )
    return address


@event("user.create")
async def create_an_account(stage: Stage) -> Act:
    request = user_pb.CreateUserRequest(email=stage.address())
    return lambda: stage.server.users.CreateUser(request, metadata=stage.staff.metadata)


@event("user.accept_invite")
async def accept_an_invitation(stage: Stage) -> Act:
    token = await stage.server.mailed_token(await _invited(stage))
    request = pb.VerifyEmailRequest(token=token)
    return lambda: stage.server.auth.VerifyEmail(request)


@event("user.update")
async def change_an_account(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    return lambda: staff.update(stage.server, stage.staff, ada.id, display_name="Ada L.")


@event("user.suspend")
async def suspend_somebody(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    return lambda: staff.suspend(stage.server, stage.staff, ada.id)


@event("user.reinstate")
async def reinstate_somebody(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    await staff.suspend(stage.server, stage.staff, ada.id)
    return lambda: staff.reinstate(stage.server, stage.staff, ada.id)


@event("user.ban")
async def ban_somebody(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    return lambda: staff.ban(stage.server, stage.staff, ada.id)


@event("user.delete")
async def delete_somebody(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    return lambda: staff.delete(stage.server, stage.staff, ada.id)


@event("user.delete")
async def delete_oneself(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    return lambda: staff.delete(stage.server, ada, ada.id)


@event("user.undelete")
async def bring_somebody_back(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    await staff.delete(stage.server, stage.staff, ada.id)
    return lambda: staff.undelete(stage.server, stage.staff, ada.id)


@event("user.set_roles")
async def give_a_role(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    return lambda: staff.set_roles(stage.server, stage.staff, ada.id, "admin")


async def _waiting(stage: Stage) -> str:
    address = stage.address()
    await stage.server.auth.SignUp(sign_up_request(address))
    reply = await stage.server.registrations.ListRegistrations(
        registration_pb.ListRegistrationsRequest(text=address), metadata=stage.staff.metadata
    )
    return reply.registrations[0].id


@event("registration.approve")
async def approve_a_sign_up(stage: Stage) -> Act:
    request = registration_pb.ApproveRegistrationRequest(registration_id=await _waiting(stage))
    approve = stage.server.registrations.ApproveRegistration
    return lambda: approve(request, metadata=stage.staff.metadata)


@event("registration.reject")
async def reject_a_sign_up(stage: Stage) -> Act:
    waiting = await _waiting(stage)
    request = registration_pb.RejectRegistrationRequest(registration_id=waiting, reason="no")
    reject = stage.server.registrations.RejectRegistration
    return lambda: reject(request, metadata=stage.staff.metadata)


# Services.


@event("api_key.create")
async def make_a_key(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    return lambda: keys.create_key(stage.server, ada)


@event("api_key.revoke")
async def revoke_a_key(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    made = await keys.create_key(stage.server, ada)
    return lambda: keys.revoke_key(stage.server, ada, made.api_key.id)


@event("web_user.create")
async def a_framework_makes_an_account(stage: Stage) -> Act:
    address = stage.address()
    return lambda: keys.create_web_user(stage.server, stage.key, address)


async def _web_user(stage: Stage) -> str:
    return (await keys.create_web_user(stage.server, stage.key, stage.address())).id


@event("web_user.update")
async def a_framework_changes_an_account(stage: Stage) -> Act:
    user_id = await _web_user(stage)
    return lambda: keys.update_web_user(stage.server, stage.key, user_id, display_name="Ada")


@event("user.purge")
async def a_framework_deletes_an_account(stage: Stage) -> Act:
    user_id = await _web_user(stage)
    return lambda: keys.delete_web_user(stage.server, stage.key, user_id)


@event("wire.access.denied AUTH_ERROR_REASON_ACCOUNT_PROTECTED")
async def a_framework_deletes_an_account_of_staff(stage: Stage) -> Act:
    return lambda: keys.delete_web_user(stage.server, stage.key, stage.staff.id)


@event("wire.access.denied AUTH_ERROR_REASON_SCOPE_BEYOND_CALLER")
async def make_a_key_for_more_than_one_may(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    return lambda: keys.create_key(stage.server, ada, keys.WEB_STORAGE)


@event("wire.access.denied AUTH_ERROR_REASON_SUPER_ADMIN_ONLY")
async def make_oneself_a_super_admin(stage: Stage) -> Act:
    admin = await staff.member_of_staff(stage.server, "admin")
    ada = await stage.server.person("Ada")
    return lambda: staff.set_roles(stage.server, admin, ada.id, "super_admin")


@event("identity.link")
async def a_framework_links_an_account(stage: Stage) -> Act:
    user_id, number = await _web_user(stage), stage.fresh()
    return lambda: keys.link(stage.server, stage.key, user_id, "acme", number)


@event("web_account.read")
async def a_framework_reads_tokens(stage: Stage) -> Act:
    number = stage.fresh()
    await keys.link(stage.server, stage.key, await _web_user(stage), "acme", number)
    return lambda: keys.find_account(stage.server, stage.key, "acme", number)


@event("identity.unlink")
async def a_framework_unlinks_an_account(stage: Stage) -> Act:
    number = stage.fresh()
    await keys.link(stage.server, stage.key, await _web_user(stage), "acme", number)
    return lambda: keys.unlink(stage.server, stage.key, "acme", number)


@event("session.log_in")
async def a_framework_opens_a_session(stage: Stage) -> Act:
    user_id, token = await _web_user(stage), stage.fresh("a-token-of-the-framework-itself-number-")
    return lambda: keys.open_session(stage.server, stage.key, user_id, token)


@event("session.log_out")
async def a_framework_ends_a_session(stage: Stage) -> Act:
    user_id, token = await _web_user(stage), stage.fresh("a-token-of-the-framework-itself-number-")
    await keys.open_session(stage.server, stage.key, user_id, token)
    return lambda: keys.delete_session(stage.server, stage.key, token)


@event("web_verification_token.use")
async def a_framework_uses_a_token(stage: Stage) -> Act:
    who, token = stage.address(), stage.fresh("a-token-of-the-framework-")
    await stage.server.web_verification.CreateWebVerificationToken(
        verification_pb.CreateWebVerificationTokenRequest(
            identifier=who, token=token, expire_time=staff.later(stage.server)
        ),
        metadata=stage.key,
    )
    request = verification_pb.UseWebVerificationTokenRequest(identifier=who, token=token)
    use = stage.server.web_verification.UseWebVerificationToken
    return lambda: use(request, metadata=stage.key)


@event("web_authenticator.add")
async def a_framework_adds_an_authenticator(stage: Stage) -> Act:
    authenticator = authenticator_pb.WebAuthenticator(
        credential_id=stage.fresh("credential-"),
        user_id=await _web_user(stage),
        provider_account_id="4711",
        credential_public_key="key",
        credential_device_type="singleDevice",
    )
    request = authenticator_pb.CreateWebAuthenticatorRequest(authenticator=authenticator)
    create = stage.server.web_authenticators.CreateWebAuthenticator
    return lambda: create(request, metadata=stage.key)
