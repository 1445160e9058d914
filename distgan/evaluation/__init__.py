"""How good the synthetic series are: scores beside their floors, pictures, and the report."""
