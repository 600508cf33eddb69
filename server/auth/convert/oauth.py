"""Answers of providers, and the identities that come of them."""

from greenroom.auth.v1 import identity_pb2, identity_service_pb2, oauth_service_pb2, user_pb2
from server.auth.convert.sign_in import outcome_to_pb
from server.auth.convert.times import optional_time_to_pb, time_to_pb
from server.auth.models import Identity
from server.auth.provider_port import Answer
from server.auth.rules import Purpose, plain_text
from server.auth.usecases.oauth import SignedInBy, Start
from server.core.pagination import Page


def start_from_pb(request: oauth_service_pb2.StartOAuthRequest) -> Start:
    """What is to begin."""
    purpose = oauth_service_pb2.AuthorizationPurpose.Name(request.purpose)
    persona = ""
    if request.persona:
        persona = user_pb2.Persona.Name(request.persona).removeprefix("PERSONA_").lower()
    return Start(
        provider=request.provider,
        redirect_uri=request.redirect_uri,
        purpose=Purpose(purpose.removeprefix("AUTHORIZATION_PURPOSE_")),
        persona=persona,
        language=plain_text(request.language),
    )


def answer_from_pb(
    request: oauth_service_pb2.CompleteOAuthRequest | identity_service_pb2.LinkIdentityRequest,
) -> Answer:
    """What the user came back with."""
    kind = request.WhichOneof("answer")
    assert kind is not None, "the request was validated"
    return Answer(
        kind=kind,
        value=getattr(request, kind),
        state=request.state,
        binding_secret=request.binding_secret,
        issuer=request.iss,
        session_state=request.session_state,
    )


def signed_in_by_to_pb(done: SignedInBy) -> oauth_service_pb2.CompleteOAuthResponse:
    """What came of it."""
    reply = oauth_service_pb2.CompleteOAuthResponse(signed_up=done.signed_up)
    return outcome_to_pb(done.outcome, reply)


def identity_to_pb(identity: Identity) -> identity_pb2.Identity:
    """An identity as its owner sees it: without any token."""
    profile = identity.profile
    return identity_pb2.Identity(
        id=identity.id,
        type=identity_pb2.IdentityType.Value(f"IDENTITY_TYPE_{identity.type.upper()}"),
        provider=identity.provider,
        provider_account_id=identity.provider_account_id,
        email=profile.get("email") or "",
        email_verified=bool(profile.get("email_verified")),
        display_name=profile.get("name") or "",
        avatar_url=profile.get("avatar_url") or "",
        scopes=sorted(set((identity.scope or "").replace(",", " ").split())),
        create_time=time_to_pb(identity.create_time),
        last_used_time=optional_time_to_pb(identity.last_used_at),
    )


def identities_to_pb(page: Page[Identity]) -> identity_service_pb2.ListIdentitiesResponse:
    """One page of them."""
    return identity_service_pb2.ListIdentitiesResponse(
        identities=[identity_to_pb(identity) for identity in page.items],
        next_page_token=page.next_page_token,
    )
