"""The times that Envoy adds to the server's own, so that the server's word is heard first."""

MARGIN_SECONDS = 2.0
"""How much longer Envoy waits for a call than the server works on it."""

IDLE_SECONDS = 60.0
"""Envoy gives up on a call or stream on which nothing passed for this long: three heartbeats."""
