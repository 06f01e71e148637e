"""VoVNet: how much looking is worth, from raw datasets to the paper's tables."""

__version__ = "0.1.0"
