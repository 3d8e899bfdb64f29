"""Full ranking and the metrics over its rows."""
