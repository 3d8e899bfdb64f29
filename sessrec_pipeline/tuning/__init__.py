"""Settings and epochs chosen inside train."""
