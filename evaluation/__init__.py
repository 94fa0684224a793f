"""Figures: what stages and networks made against the truth, the report of a run, and comparisons of runs."""
