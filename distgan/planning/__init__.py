"""Memory, time and cost of a training, computed before it is launched."""
