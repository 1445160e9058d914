"""Readers of files as published or exported: text tables, Parquet, folders, arrays."""
