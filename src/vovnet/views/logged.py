"""Views that another program showed, known from its log alone: `log-29`, `log-VisionThink`.

This project cannot show them, and knows no more of them than the log: what was answered, and what
it cost.
"""

import re

LOGGED = re.compile(r"log-[A-Za-z0-9_.]+")


def is_logged(view: str) -> bool:
    """Whether a view is known from a log alone."""
    return LOGGED.fullmatch(view) is not None
