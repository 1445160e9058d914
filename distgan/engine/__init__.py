"""The training loop for any objective, with checkpoints, moving averages and telemetry."""
