"""The identities of a user: list, link, unlink."""

import peewee

from server.auth import audit_actions as actions
from server.auth.errors import (
    EmailUnverified,
    IdentityNotFound,
    IdentityTaken,
    OAuthProofInvalid,
)
from server.auth.mails import identity_mail
from server.auth.models import Identity, User
from server.auth.outbox import Outbox
from server.auth.rules import (
    Asking,
    Case,
    LinkingVerdict,
    Local,
    Owner,
    ProvenIdentity,
    Purpose,
    Told,
    verdict_on,
)
from server.auth.usecases.oauth import refuse
from server.auth.usecases.provider_tokens import keep_identity, renew_identity
from server.auth.usecases.second_factors import locked_caller
from server.auth.usecases.signing_in import SignInDesk
from server.auth.usecases.ways_in import check_other_way_in
from server.core.errors import Refused
from server.core.pagination import Order, Page, Pages, paginate
from server.core.unit import Unit


def list_identities(unit: Unit, pages: Pages, *, page_size: int, page_token: str) -> Page[Identity]:
    """The caller's identities, the newest first."""
    return paginate(
        pages,
        Identity.for_user(unit.caller.user_id),
        order=[Order(Identity.id, descending=True)],
        page_size=page_size,
        page_token=page_token,
        scope={"list": "identities", "user": unit.caller.user_id},
    )


def complete_link(unit: Unit, proven: ProvenIdentity, *, desk: SignInDesk) -> Identity | Refused:
    """Does what the table says for somebody who is signed in and has just proven who they are: that
    they have is the policy of the method."""
    user = locked_caller(unit)
    identity = Identity.at_provider(proven.provider, proven.subject).get_or_none()
    verdict = verdict_on(_case_of(user, identity, proven))
    if identity is not None and identity.issuer != proven.issuer:
        return refuse(unit, Purpose.LINK, OAuthProofInvalid(field="code"), by="issuer")
    if verdict is LinkingVerdict.IDENTITY_TAKEN:
        return refuse(unit, Purpose.LINK, IdentityTaken(), by=proven.provider)
    if verdict is LinkingVerdict.EMAIL_UNVERIFIED:
        return refuse(unit, Purpose.LINK, EmailUnverified(), by=proven.provider)
    if verdict is LinkingVerdict.RENEW:
        assert identity is not None, "the table renews what is there"
        renew_identity(unit, identity, proven, keyring=desk.keyring)
        result = "RENEWED"
    else:
        try:
            with unit.savepoint():
                identity = keep_identity(unit, user.id, proven, keyring=desk.keyring)
        except peewee.IntegrityError:
            # Somebody else linked it this moment.
            return refuse(unit, Purpose.LINK, IdentityTaken(), by=proven.provider)
        _tell(unit, user, identity, desk.outbox, "linked")
        result = "OK"
    unit.audit(
        actions.IDENTITY_LINK,
        resource=f"identities/{identity.id}",
        result=result,
        by=proven.provider,
    )
    return identity


def unlink_identity(unit: Unit, identity_id: str, *, outbox: Outbox) -> None:
    """Takes a way in away from the caller, unless it is the last one."""
    user = locked_caller(unit)
    identity = Identity.for_user(user.id).where(Identity.id == identity_id).get_or_none()
    if identity is None:
        raise IdentityNotFound
    check_other_way_in(user)
    identity.delete_instance()
    unit.audit(actions.IDENTITY_UNLINK, resource=f"identities/{identity.id}", by=identity.provider)
    _tell(unit, user, identity, outbox, "unlinked")


def drop_identities(user_id: str) -> None:
    """Takes every identity off an account whose address turned out to be somebody else's."""
    Identity.delete().where(Identity.user == user_id).execute()


def _case_of(user: User, identity: Identity | None, proven: ProvenIdentity) -> Case:
    owner = Owner.NONE
    if identity is not None:
        owner = Owner.SELF if identity.user_id == user.id else Owner.OTHER
    if user.email is None:
        local = Local.NONE
    else:
        local = Local.UNPROVEN if user.email_verified_at is None else Local.PROVEN
    told = Told.PROVEN if proven.email_verified else Told.UNPROVEN
    return Case(Asking.FRESH, owner, told, local)


def _tell(unit: Unit, user: User, identity: Identity, outbox: Outbox, news: str) -> None:
    if user.email is not None and user.email_verified_at is not None:
        mail = identity_mail(
            user.email, user.language, news, identity.provider, unit.address, unit.now
        )
        outbox.enqueue(unit, mail)
