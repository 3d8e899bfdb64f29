"""The experiments of a reproduction study, one module each: what a figure owes to the way it was measured."""
