"""What tells a team that the logs have changed, or that a check failed."""
