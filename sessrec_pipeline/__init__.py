"""From raw session logs to ranked next-item recommenders that can be trusted."""

__version__ = "0.1.0"
