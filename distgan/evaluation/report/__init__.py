"""The report of a run, its verdict, and the comparison of several."""
