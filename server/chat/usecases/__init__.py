"""What chat calls do, a file a noun. Each runs inside the unit of work it is given."""
