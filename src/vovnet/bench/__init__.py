"""The bench: what observing once saves, measured side by side in one run. Nothing is asserted
about time; a requirement that is missed is reported as such.
"""
