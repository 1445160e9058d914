"""What `distgan` does with finished runs and files: release, compare, classify, denoise, inspect."""
