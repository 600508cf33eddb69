"""What leaves the building: the other ends of the ports of auth."""
