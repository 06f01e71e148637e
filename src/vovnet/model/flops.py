"""Floating-point operations of a model, counted from its configuration.

Counted as `torch.utils.flop_counter` counts them: two for each multiplication and addition of a
matrix product, attention between all queries and keys; norms, activations and rope are left out
(well below 1%). Adapters are left out too, since they can be merged into the weights. A sample is
counted as if it were alone: what padding to the longest sample of a batch costs is not its own.

Tested against torch's counter on the tiny model. Loads no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from vovnet.core.errors import ConfigError
from vovnet.views.reductions.base import Dropping

Grid = tuple[int, int]
"""Rows and columns of an image's vision tokens, as the tower makes them."""


@dataclass(frozen=True)
class Dropped:
    """`tokens` of a prompt go no further than the first `num_layers` layers, which rank them."""

    tokens: int
    num_layers: int


@dataclass(frozen=True)
class LanguageModel:
    """A decoder with grouped-query attention and gated MLPs, by the names of its config.json."""

    num_hidden_layers: int
    hidden_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int

    def prefill(self, tokens: int, past: int = 0, dropped: Dropped | None = None) -> int:
        """Of `tokens` after `past` cached ones, with the logits of the last token alone.

        What ranks the tokens that are dropped is counted: the last token's query once more, and
        its scores.
        """
        if dropped is None:
            layers = self.num_hidden_layers * self._layer(tokens, past)
            return 2 * (layers + self.hidden_size * self.vocab_size)
        later = self.num_hidden_layers - dropped.num_layers
        layers = dropped.num_layers * self._layer(tokens, past)
        layers += later * self._layer(tokens - dropped.tokens, past)
        layers += self.num_attention_heads * self.head_dim * (self.hidden_size + past + tokens)
        return 2 * (layers + self.hidden_size * self.vocab_size)

    def decoding(self, context: int, steps: int, dropped: Dropped | None = None) -> int:
        """Of `steps` tokens that are fed one by one after `context` tokens."""
        whole = sum(self.prefill(1, context + step) for step in range(steps))
        if dropped is None:
            return whole
        unseen = 2 * self.num_attention_heads * self.head_dim * dropped.tokens
        return whole - 2 * steps * (self.num_hidden_layers - dropped.num_layers) * unseen

    def _layer(self, tokens: int, past: int) -> int:
        """Multiplications of one layer."""
        hidden, attended = self.hidden_size, self.num_attention_heads * self.head_dim
        projected = 2 * hidden * (attended + self.num_key_value_heads * self.head_dim)
        weights = projected + 3 * hidden * self.intermediate_size
        return tokens * weights + 2 * attended * tokens * (past + tokens)

    def check(self, dropping: Dropping) -> None:
        """Refuse what would drop tokens behind a layer that is not there, or the last one."""
        if dropping.num_layers >= self.num_hidden_layers:
            raise ConfigError(
                f"{dropping.name}: expected a layer before the last of the language model's"
                f" {self.num_hidden_layers}, got layer {dropping.num_layers}"
            )


@dataclass(frozen=True)
class VisionTower:
    """A vision transformer whose patches are merged into tokens, at its end and for deepstack.

    In `num_window_layers` of its layers patches attend within squares of `window` tokens a side;
    `last_has_windows` says whether the last layer is one of these.
    """

    num_layers: int
    hidden_size: int
    intermediate_size: int
    patch_values: int
    merge_size: int
    out_hidden_size: int
    num_mergers: int = 1
    mlp_matrices: int = 2
    num_window_layers: int = 0
    window: int = 1
    last_has_windows: bool = False

    def encode(self, grids: Sequence[Grid]) -> int:
        """Of images that attend to themselves alone, with the mergers."""
        area, hidden = self.merge_size**2, self.hidden_size
        merged = area * hidden
        layer = 4 * hidden**2 + self.mlp_matrices * hidden * self.intermediate_size
        weights = self.patch_values * hidden + self.num_layers * layer
        merger = merged**2 + merged * self.out_hidden_size
        total = 0
        for rows, columns in grids:
            patches = rows * columns * area
            pairs = (self.num_layers - self.num_window_layers) * patches**2
            pairs += self.num_window_layers * self._pairs_in_windows(rows, columns)
            attention = 2 * hidden * pairs
            total += patches * weights + attention + self.num_mergers * rows * columns * merger
        return 2 * total

    def last_attention(self, grids: Sequence[Grid]) -> int:
        """Of telling the attention of the last layer: its projections and scores once more."""
        total, area = 0, self.merge_size**2
        for rows, columns in grids:
            patches = rows * columns * area
            pairs = self._pairs_in_windows(rows, columns) if self.last_has_windows else patches**2
            total += 3 * patches * self.hidden_size**2 + self.hidden_size * pairs
        return 2 * total

    def _pairs_in_windows(self, rows: int, columns: int) -> int:
        """Pairs of patches that are in one window."""
        return self.merge_size**4 * self._squares(rows) * self._squares(columns)

    def _squares(self, side: int) -> int:
        """Sum of the squares of the parts into which windows cut a side of an image."""
        whole, rest = divmod(side, self.window)
        return whole * self.window**2 + rest**2


@dataclass(frozen=True)
class AnswerFlops:
    """Of one answer. The language model may go on from a text pass, which is counted apart.

    `language_model_alone` is what it takes without a text pass before it.
    """

    vision_tower: int
    language_model: int
    language_model_alone: int


@dataclass(frozen=True)
class ModelFlops:
    """A model's two parts; the policy head is counted where it stands."""

    language_model: LanguageModel
    vision_tower: VisionTower

    @classmethod
    def of_qwen3_vl(cls, config: Mapping[str, Any]) -> Self:
        """From the contents of a Qwen3-VL's config.json."""
        vision = config["vision_config"]
        mergers = 1 + len(vision["deepstack_visual_indexes"])
        return cls(_language_model(config["text_config"]), _tower(vision, num_mergers=mergers))

    @classmethod
    def of_qwen2_5_vl(cls, config: Mapping[str, Any]) -> Self:
        """From a Qwen2.5-VL's configuration, as transformers writes it."""
        text, vision = config["text_config"], config["vision_config"]
        head_dim = text["hidden_size"] // text["num_attention_heads"]
        tower = _tower(
            vision,
            mlp_matrices=3,
            num_window_layers=vision["depth"] - len(vision["fullatt_block_indexes"]),
            last_has_windows=vision["depth"] - 1 not in vision["fullatt_block_indexes"],
            window=vision["window_size"] // (vision["patch_size"] * vision["spatial_merge_size"]),
        )
        return cls(_language_model({**text, "head_dim": head_dim}), tower)

    def answer(
        self,
        grids: Sequence[Grid],
        length: int,
        steps: int,
        cached: int | None = None,
        *,
        attention: bool = False,
        dropped: Dropped | None = None,
    ) -> AnswerFlops:
        """Of one answer under a view.

        `grids` are those of the images before any reduction, `length` counts the prompt's tokens,
        `steps` the answer's tokens that were fed back, and `cached` the prompt's tokens that the
        text pass left in the cache (None where there was none to go on from). Where all of them
        are cached, even the first logits are those of the text pass. With `attention` the tower
        also told that of its last layer; `dropped` tokens are among the prompt's new ones.
        """
        language, after_text_pass = self.language_model, 0
        decoding = language.decoding(length, steps, dropped)
        alone = language.prefill(length, dropped=dropped) + decoding
        if cached is None:
            after_text_pass = alone
        else:
            new = length - cached
            after_text_pass = decoding + (language.prefill(new, cached, dropped) if new else 0)
        tower = self.vision_tower.encode(grids)
        if attention:
            tower += self.vision_tower.last_attention(grids)
        return AnswerFlops(tower, after_text_pass, alone)


def _language_model(text: Mapping[str, Any]) -> LanguageModel:
    return LanguageModel(*(text[item.name] for item in fields(LanguageModel)))


def _tower(vision: Mapping[str, Any], **parts: Any) -> VisionTower:
    """What every family's vision_config names alike, and the parts in which the towers differ."""
    return VisionTower(
        num_layers=vision["depth"],
        hidden_size=vision["hidden_size"],
        intermediate_size=vision["intermediate_size"],
        patch_values=vision["in_channels"]
        * vision["temporal_patch_size"]
        * vision["patch_size"] ** 2,
        merge_size=vision["spatial_merge_size"],
        out_hidden_size=vision["out_hidden_size"],
        **parts,
    )
