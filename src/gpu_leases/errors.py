"""Errors whose text is written for the person at the terminal."""


class LeaseError(Exception):
    """Devices, a folder or a command are not as asked for: one clear line."""
