"""What a reduction must know and do; torch is loaded only where one is applied."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from torch import Tensor

    from vovnet.views.reductions.token_map import TokenMap


@dataclass(frozen=True, eq=False)
class TowerAttention:
    """What the last layer of the vision tower says of an image's K tokens.

    `received_K` is the attention that the patches of a token get from all patches of the image;
    `keys_KE` are their keys. Both are means over the heads and over the patches of a token.
    """

    received_K: Tensor
    keys_KE: Tensor

    def take(self, tokens: Tensor | slice) -> TowerAttention:
        """Of some of the tokens."""
        return TowerAttention(self.received_K[tokens], self.keys_KE[tokens])


@dataclass(frozen=True, eq=False)
class ImageTokens:
    """What a reduction is told of an image.

    `values_KD` are its tokens as they enter the language model, on a `grid` of (rows, columns)
    where nothing was reduced before. `seed` follows from the image as it is shown. `attention`
    is there for reductions that need it.
    """

    values_KD: Tensor
    grid: tuple[int, int]
    seed: int = 0
    attention: TowerAttention | None = None

    def __len__(self) -> int:
        return len(self.values_KD)


@dataclass(frozen=True)
class Reduction(ABC):
    """Shows an encoded image with fewer tokens.

    A subclass is a frozen dataclass. Its fields are options, each one of some words (`Literal`),
    and an amount: a share above 0 and up to 1 (`float`) or a whole number (`int`). Its spelling is
    its name, its options but for those that are their default, and its amount: `merge-cosine-0.5`.

    `example` and `summary` are for messages and docs; `column` of results.csv holds the amount. A
    reduction that `needs_grid` reads the whole grid of an image's tokens, and so must come before
    all others. One that `needs_attention` reads the tower's, and so must come first as well.
    """

    example: ClassVar[str]
    summary: ClassVar[str]
    column: ClassVar[str]
    needs_grid: ClassVar[bool] = False
    needs_attention: ClassVar[bool] = False

    @abstractmethod
    def tokens_left(self, count: int, grid: tuple[int, int]) -> int:
        """How many of an image's `count` tokens it leaves; `grid` is their (rows, columns)."""

    @abstractmethod
    def reduce(self, image: ImageTokens) -> TokenMap:
        """The map from the image's K tokens to those that are left."""

    @property
    def name(self) -> str:
        """The canonical spelling."""
        options = [(getattr(self, item.name), item.default) for item in _fields(type(self))[0]]
        words = [word for word, default in options if word != default]
        return "-".join([type(self).__name__.lower(), *words, ratio_text(self.amount)])

    @property
    def amount(self) -> float:
        return getattr(self, _fields(type(self))[1].name)

    @classmethod
    def parse(cls, words: Sequence[str]) -> Self | None:
        """The reduction that the words after its name spell; None if they spell none."""
        options, amount = _fields(cls)
        kinds, values, rest = get_type_hints(cls), {}, list(words)
        for item in options:
            if rest and rest[0] in get_args(kinds[item.name]):
                values[item.name] = rest.pop(0)
            elif item.default is MISSING:
                return None
        number = _number(rest[0], kinds[amount.name]) if len(rest) == 1 else None
        return None if number is None else cls(**values, **{amount.name: number})


@dataclass(frozen=True)
class Dropping(Reduction):
    """Drops tokens inside the language model, into which all of them enter; it comes last.

    They are dropped behind the first `num_layers` layers, the last of which ranks them. `ratio` is
    the share that goes on. `reduce` leaves all of them.
    """

    ratio: float

    @property
    @abstractmethod
    def num_layers(self) -> int:
        """The layers that process all tokens."""

    def tokens_left(self, count: int, grid: tuple[int, int]) -> int:
        return count

    def kept(self, count: int) -> int:
        """How many of all images' tokens go on."""
        return kept_tokens(count, self.ratio) if count else 0

    def mean_tokens(self, count: int, num_layers: int) -> int:
        """Tokens that a layer processes, a mean over all `num_layers`, to the nearest whole one."""
        later = num_layers - self.num_layers
        total = self.num_layers * count + later * self.kept(count)
        return math.floor(total / num_layers + 0.5)


def ratio_text(amount: float) -> str:
    """The shortest spelling of an amount with at most six decimals: `0.5`, `1`, `2`."""
    return f"{amount:.6f}".rstrip("0").rstrip(".")


def kept_tokens(count: int, ratio: float) -> int:
    """The nearest whole number to `ratio` of `count` tokens, halves up, at least one."""
    return max(1, math.floor(count * ratio + 0.5))


@cache
def _fields(cls: type[Reduction]) -> tuple[list[Field[Any]], Field[Any]]:
    """The options of a reduction, and its amount."""
    kinds = get_type_hints(cls)
    options = [item for item in fields(cls) if get_origin(kinds[item.name]) is Literal]
    (amount,) = (item for item in fields(cls) if item not in options)
    return options, amount


def _number(text: str, kind: type) -> float | None:
    """A share with at most six decimals, or a whole number of at most three digits."""
    if kind is int:
        return int(text) if re.fullmatch(r"[1-9]\d{0,2}", text) else None
    if not re.fullmatch(r"[01](?:\.\d{1,6}0*)?", text):
        return None
    return float(text) if 0 < float(text) <= 1 else None
