"""Telling people of sign-ins that they may not have made."""

import re
from datetime import timedelta

from server.auth.devices import Software, software_of
from server.auth.issuing import Device
from server.auth.mails import new_device_mail
from server.auth.models import Session, User
from server.auth.outbox import Outbox
from server.auth.rules import network_of
from server.core.unit import Unit

RECENT = timedelta(days=90)
"""A device and a network that were used within this time are known."""

_VERSION = re.compile(r"[0-9][0-9._]*")


def tell_of_new_device(unit: Unit, user: User, device: Device, outbox: Outbox) -> None:
    """Mails the user when none of their recent sessions had this device on this network. A first
    sign-in is no news. To be called before the session is opened."""
    if user.email is None or user.email_verified_at is None or user.last_login_at is None:
        return
    recent = Session.select(Session.user_agent, Session.ip).where(
        (Session.user == user.id) & (Session.last_active_at > unit.now - RECENT)
    )
    now = _place_of(device.user_agent, device.address)
    if any(_place_of(session.user_agent, session.ip) == now for session in recent.distinct()):
        return
    mail = new_device_mail(user.email, user.language, _named(device), device.address, unit.now)
    outbox.enqueue(unit, mail)


def _place_of(user_agent: str, address: str) -> tuple[Software | str, str]:
    """What counts as one device on one network. A new version of the same browser is no new
    device."""
    told = software_of(user_agent)
    kind = told if told.platform and told.browser else _VERSION.sub("", user_agent)[:100]
    return kind, network_of(address)


def _named(device: Device) -> str:
    told = software_of(device.user_agent)
    known = ", ".join(part for part in (told.browser, told.platform) if part)
    return known or device.name or device.user_agent
