"""Nearest neighbours among items and among sessions."""
