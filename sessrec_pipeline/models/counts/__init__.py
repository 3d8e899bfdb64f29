"""Models of counts, fitted in SQL."""
