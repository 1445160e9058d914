"""Scores of synthetic series beside real ones."""
