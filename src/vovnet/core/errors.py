"""Errors whose text is written for the person at the terminal."""


class VovnetError(Exception):
    """Bad input or a broken contract: one clear line, exit status 2, no traceback.

    The message names the file, line or key and says what was expected.
    """


class ConfigError(VovnetError):
    """A configuration key or value is wrong."""


class DataError(VovnetError):
    """A dataset, observation or result file is wrong."""


class CheckpointError(VovnetError):
    """A model or training checkpoint cannot be read."""


def one_line(error: BaseException) -> str:
    """The text of a library's error, whose lines are joined."""
    return " ".join(str(error).split())
