"""Plots and self-contained HTML pages of runs. matplotlib is imported only when a plot is drawn."""
