"""From latents to released conditions: clusters, groups of a minimum size, the bank, differential privacy."""
