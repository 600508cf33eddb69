"""The services of auth, a file each: they translate between messages and use cases, and decide nothing."""
