"""Readers of raw datasets, one module per original layout."""
