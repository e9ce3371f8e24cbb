"""Weighing more ratings than fit into memory as objects: texts become numbers in DuckDB, and numbers are weighed."""
