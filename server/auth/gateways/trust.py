"""Whom connections to strangers trust."""

import ssl
from functools import cache

import httpx


@cache
def trusted_authorities() -> ssl.SSLContext:
    """The authorities that httpx comes with, and no others that the environment names. Read once a
    process: some 150 certificates take 25 ms."""
    return httpx.create_ssl_context(trust_env=False)
