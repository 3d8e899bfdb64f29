"""The store: files that cannot be half-written, their lineage, and the warehouse over them."""
