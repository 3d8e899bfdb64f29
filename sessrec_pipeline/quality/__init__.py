"""How the landed logs change from day to day, and what the checks saw, for people and for CI systems."""
