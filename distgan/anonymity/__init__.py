"""What keeps people apart from what is released."""
