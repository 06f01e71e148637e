"""Datasets: original layouts in, unified samples out."""
