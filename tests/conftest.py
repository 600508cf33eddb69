"""Fixtures of all tests: databases, and the real server on them."""

from tests.support.databases import (
    database_kind,
    database_url,
    empty_database_url,
)

__all__ = ["database_kind", "database_url", "empty_database_url"]
