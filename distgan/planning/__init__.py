"""Memory, time and cost of a training, worked out before it is launched."""
