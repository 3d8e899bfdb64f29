"""The code location that Dagster loads: the graph of the feed that the environment names."""

from assets.graph import build
from sessrec_pipeline.feed import load_settings

defs = build(load_settings())
