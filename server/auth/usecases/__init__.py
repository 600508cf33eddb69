"""What auth does, one module a noun: plain functions that run inside a unit of work."""
