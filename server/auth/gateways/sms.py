"""Chooses how texts leave, by the settings."""

from server.auth.gateways.sms_files import FileSms
from server.auth.gateways.twilio import TwilioAccount, TwilioVerify
from server.auth.sms_port import SmsSender
from server.core.clock import Clock
from server.core.config import Settings


def open_sms(settings: Settings, clock: Clock) -> SmsSender | None:
    """Twilio Verify when it is set up, files in MAIL_DIR in development, nothing in production."""
    if settings.twilio_account_sid:
        account = TwilioAccount(
            sid=settings.twilio_account_sid,
            token=settings.twilio_auth_token,
            service_sid=settings.twilio_verify_service_sid,
            base_url=settings.twilio_base_url,
        )
        return TwilioVerify(account, timeout=settings.twilio_timeout_seconds, clock=clock)
    return None if settings.is_production else FileSms(settings.mail_dir)
