"""The times that Envoy adds to the server's own, so that the server's word is heard first."""

MARGIN_SECONDS = 2.0
"""How much longer Envoy waits for a call than the server works on it."""

HEARTBEAT_MARGIN_SECONDS = 8.0
"""How late a heartbeat may be.

A reader that stalls is ended by the server, but its end waits behind what the reader does not take.
Envoy gives up on it when nothing passed for a heartbeat and this: within 30 seconds by default.
"""

IDLE_SECONDS = 60.0
"""Envoy gives up on a call of which nothing arrives for this long, or for its timeout and more."""
