"""The loop that trains any objective, its checkpoints, its averages and what it shows."""
