"""What each network of a family minimises."""
