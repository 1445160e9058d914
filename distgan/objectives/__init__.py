"""What networks minimise: phases, the adversarial game that most families play, losses and penalties."""
