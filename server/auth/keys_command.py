"""The audit rows of ``python -m server keys rotate|revoke``, where there is a database to write to:
a key that leaked is revoked whether there is one or not."""

from server.auth.audit import write_audit_row
from server.core import schema
from server.core.caller import CallContext, Caller
from server.core.clock import SystemClock
from server.core.config import Settings
from server.core.db import Database
from server.core.errors import GreenroomError
from server.core.failures import DRIVER_ERRORS
from server.core.schema import SchemaError


def audit_key_change(settings: Settings, action: str, kid: str) -> bool:
    """Writes the row; False when the database could not take it."""
    context = CallContext(
        caller=Caller(kind="operator"), method=f"python -m server {action.replace('key.', 'keys ')}"
    )
    try:
        schema.require_current(settings.database_url)
        database = Database.open(settings, SystemClock())
        try:
            database.audit_sink = write_audit_row
            database.run_here(
                lambda unit: unit.audit(action, resource=f"signingKeys/{kid}"),
                write=True,
                context=context,
            )
            database.close_here()
        finally:
            database.close()
    except (GreenroomError, SchemaError, OSError, *DRIVER_ERRORS):
        return False
    return True
