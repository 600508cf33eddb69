"""What ``python -m server audit verify`` does, on the database alone; and the same as a daily job."""

import logging

from server.auth.audit import ChainReport, verify_chain
from server.core import schema
from server.core.clock import SystemClock
from server.core.config import Settings
from server.core.db import Database
from server.core.jobs import JobRun

logger = logging.getLogger(__name__)

JOB = "audit.verify"
LEASE_SECONDS = 900.0
"""A walk along millions of rows takes minutes."""


def verify(settings: Settings) -> ChainReport:
    """Walks the whole chain; ``SchemaOutdated`` when the database is not ready."""
    schema.require_current(settings.database_url)
    database = Database.open(settings, SystemClock())
    try:
        report = database.run_here(verify_chain, write=False, serializable=True)
        database.close_here()
    finally:
        database.close()
    return report


def verify_daily(run: JobRun) -> None:
    """The job. It logs where the chain ends as well: whoever keeps the logs elsewhere has a witness
    against somebody who rewrites the whole table."""
    report = run.run(verify_chain, write=False, serializable=True)
    fields = {"sealed": report.sealed, "unsealed": report.unsealed, "head": report.head}
    if report.problem:
        logger.critical(
            "the audit log was tampered with: %s", report.problem, extra={"fields": fields}
        )
    else:
        logger.info("the audit log holds", extra={"fields": fields})
