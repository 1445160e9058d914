"""The commands on finished runs and files: release, compare, classify, denoise, inspect."""
