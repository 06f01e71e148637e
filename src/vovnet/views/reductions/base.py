"""What a reduction must know and do; torch is loaded only where one is applied."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from torch import Tensor

    from vovnet.views.reductions.token_map import TokenMap

_RATIO = re.compile(r"[01](?:\.\d{1,6}0*)?")


class Reduction(ABC):
    """Shows an encoded image with fewer tokens; a subclass is a frozen dataclass of its options.

    `example` is a spelling that error messages show, `summary` says for docs what it does. A
    reduction that `needs_grid` reads the whole grid of an image's tokens, and so must come before
    all others. `column_names` are the columns of results.csv that it fills.
    """

    example: ClassVar[str]
    summary: ClassVar[str]
    needs_grid: ClassVar[bool] = False
    column_names: ClassVar[tuple[str, ...]]

    @classmethod
    @abstractmethod
    def parse(cls, options: Sequence[str]) -> Self | None:
        """The reduction that the words after its name spell; None if they spell none."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The canonical spelling."""

    @property
    @abstractmethod
    def columns(self) -> dict[str, float]:
        """What results.csv says of it: a value for each of `column_names`."""

    @abstractmethod
    def tokens_left(self, count: int, grid: tuple[int, int]) -> int:
        """How many of an image's `count` tokens it leaves; `grid` is their (rows, columns)."""

    @abstractmethod
    def reduce(self, tokens_KD: Tensor, grid: tuple[int, int]) -> TokenMap:
        """The map from the K tokens that enter the language model to those that are left."""


def kept_tokens(count: int, ratio: float) -> int:
    """The nearest whole number to `ratio` of `count` tokens, halves up, at least one."""
    return max(1, math.floor(count * ratio + 0.5))


def parse_ratio(text: str) -> float | None:
    """A share above 0 and up to 1 with at most six decimals; None for any other text."""
    if not _RATIO.fullmatch(text):
        return None
    ratio = float(text)
    return ratio if 0 < ratio <= 1 else None


def ratio_text(ratio: float) -> str:
    """The shortest spelling of a share: `0.5`, `0.125`, `1`."""
    return f"{ratio:.6f}".rstrip("0").rstrip(".")
