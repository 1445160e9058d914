"""Readers of users' files, one a layout."""
