"""An artificial population, and releases of it with and without known leaks, to test the attacks."""
