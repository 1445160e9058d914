"""Distributed training of generators of long time series, and the anonymous release of what they make."""

__version__ = "0.1.0"
