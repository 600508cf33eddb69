"""Conversations: direct channels, messages, read marks, typing, live events."""
