"""Policies over stored observations, compared with references; nothing here runs a model."""
