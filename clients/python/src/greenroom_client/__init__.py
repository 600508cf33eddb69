"""The Python client of Greenroom: typed stubs that sign in, refresh, retry and resume by themselves."""

from greenroom_client.client import Client, connect
from greenroom_client.conversation import CommandFailed, Conversation, ConversationClosed
from greenroom_client.errors import (
    SecondFactorNeeded,
    reason_of,
    request_id_of,
    retry_after_of,
    violations_of,
)
from greenroom_client.events import EventStream
from greenroom_client.outbox import Delivery, Outbox, OutboxClosed, Outgoing
from greenroom_client.paging import items, pages
from greenroom_client.tokens import FileTokenStore, MemoryTokenStore, SignedOut, Tokens, TokenStore

__all__ = [
    "Client",
    "CommandFailed",
    "Conversation",
    "ConversationClosed",
    "Delivery",
    "EventStream",
    "FileTokenStore",
    "MemoryTokenStore",
    "Outbox",
    "OutboxClosed",
    "Outgoing",
    "SecondFactorNeeded",
    "SignedOut",
    "TokenStore",
    "Tokens",
    "connect",
    "items",
    "pages",
    "reason_of",
    "request_id_of",
    "retry_after_of",
    "violations_of",
]
