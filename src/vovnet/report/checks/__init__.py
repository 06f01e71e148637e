"""Sanity checks over results."""
