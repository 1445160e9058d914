"""Readers of the layouts in which data arrive: each turns cells as written into values, or refuses in one line."""
