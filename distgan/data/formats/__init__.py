"""Readers of the layouts in which data arrive: cells as written become values, or a refusal in one line."""
