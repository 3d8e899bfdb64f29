"""Drift of the logs from day to day, and the verdicts of checks."""
