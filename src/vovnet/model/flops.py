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

Grid = tuple[int, int]
"""Rows and columns of an image's vision tokens, as the tower makes them."""


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

    def prefill(self, tokens: int, past: int = 0) -> int:
        """Of `tokens` after `past` cached ones, with the logits of the last token alone."""
        hidden, attended = self.hidden_size, self.num_attention_heads * self.head_dim
        projected = 2 * hidden * (attended + self.num_key_value_heads * self.head_dim)
        weights = projected + 3 * hidden * self.intermediate_size
        attention = 2 * attended * tokens * (past + tokens)
        layers = self.num_hidden_layers * (tokens * weights + attention)
        return 2 * (layers + hidden * self.vocab_size)

    def decoding(self, context: int, steps: int) -> int:
        """Of `steps` tokens that are fed one by one after `context` tokens."""
        return sum(self.prefill(1, context + step) for step in range(steps))


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
    ) -> AnswerFlops:
        """Of one answer under a view.

        `grids` are those of the images before any reduction, `length` counts the prompt's tokens,
        `steps` the answer's tokens that were fed back, and `cached` the prompt's tokens that the
        text pass left in the cache (None where there was none to go on from). Where all of them
        are cached, even the first logits are those of the text pass. With `attention` the tower
        also told that of its last layer.
        """
        decoding = self.language_model.decoding(length, steps)
        alone = self.language_model.prefill(length) + decoding
        after_text_pass = alone
        if cached is not None:
            new = length - cached
            after_text_pass = decoding + (self.language_model.prefill(new, cached) if new else 0)
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
