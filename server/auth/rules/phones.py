"""Telephone numbers: the form in which they are stored and compared."""

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from server.auth.errors import PhoneInvalid

_NEVER_TEXTED = frozenset(
    {
        PhoneNumberType.PREMIUM_RATE,
        PhoneNumberType.SHARED_COST,
        PhoneNumberType.PAGER,
        PhoneNumberType.VOICEMAIL,
        PhoneNumberType.UAN,
    }
)
"""Numbers that cost whoever texts them, or that nobody reads texts on."""


def fold_phone(text: str, field: str = "phone") -> str:
    """A number in international form as E.164 (ITU-T); ``PhoneInvalid``, for the field of this
    name, for one that the numbering plan of its country does not have or that is never texted."""
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        raise PhoneInvalid(field=field) from None
    kind = phonenumbers.number_type(number)
    if not phonenumbers.is_valid_number(number) or number.extension or kind in _NEVER_TEXTED:
        raise PhoneInvalid(field=field)
    return str(phonenumbers.format_number(number, PhoneNumberFormat.E164))
