"""Jobs, enqueued in the unit of work that makes them necessary, and the schedules of recurring ones."""

from typing import Any

import peewee


def up(migrator: Any, db: peewee.Database) -> None:
    """Makes the tables."""
    db.execute_sql("""
        CREATE TABLE jobs (
            id VARCHAR(36) NOT NULL PRIMARY KEY,
            kind VARCHAR(100) NOT NULL,
            arguments TEXT NOT NULL,
            key VARCHAR(200),
            state VARCHAR(10) NOT NULL
                CHECK (state IN ('READY', 'RUNNING', 'DONE', 'DEAD')),
            run_at BIGINT NOT NULL,
            attempts INTEGER NOT NULL DEFAULT 0,
            lease_until BIGINT,
            fence INTEGER NOT NULL DEFAULT 0,
            last_error TEXT NOT NULL DEFAULT '',
            create_time BIGINT NOT NULL,
            update_time BIGINT NOT NULL
        )
    """)
    db.execute_sql("""
        CREATE UNIQUE INDEX jobs_unfinished_key ON jobs (key)
        WHERE key IS NOT NULL AND state IN ('READY', 'RUNNING')
    """)
    db.execute_sql("CREATE INDEX jobs_ready ON jobs (run_at) WHERE state = 'READY'")
    db.execute_sql("CREATE INDEX jobs_leased ON jobs (lease_until) WHERE state = 'RUNNING'")
    db.execute_sql("CREATE INDEX jobs_ended ON jobs (update_time) WHERE state = 'DONE'")
    db.execute_sql("""
        CREATE TABLE job_schedules (
            kind VARCHAR(100) NOT NULL PRIMARY KEY,
            cron VARCHAR(100) NOT NULL,
            next_run_at BIGINT NOT NULL
        )
    """)


def down(migrator: Any, db: peewee.Database) -> None:
    """Drops the tables."""
    db.execute_sql("DROP TABLE job_schedules")
    db.execute_sql("DROP TABLE jobs")
