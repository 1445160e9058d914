"""Readers of data sources, one per layout, and what each of them understood."""
