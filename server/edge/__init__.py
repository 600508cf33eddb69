"""Where Greenroom meets the outside: Envoy's configuration, and the group of processes."""
