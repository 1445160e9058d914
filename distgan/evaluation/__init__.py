"""The quality of synthetic series: scores beside their baselines, pictures, and the report."""
