"""What all model families share: prompts, prefill of padded batches, and free generation.

The prompt is `[system][question][images][assistant header]` (text first). The text pass
runs `[system][question][assistant header]`; its cache, cropped back to the question, is
extended by the images of a view. A family adds how its images are cut into patches and encoded,
how a sequence is laid out, and how its language model takes it.

Shapes: B samples, T tokens, D hidden size, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from vovnet.config import ModelSettings, VisionBudget
from vovnet.core.cost import ViewBudget
from vovnet.core.errors import CheckpointError
from vovnet.model import varlen
from vovnet.model.chat_template import chat_text
from vovnet.model.flops import ModelFlops
from vovnet.model.packed import PackedPasses
from vovnet.model.padded import PaddedPasses
from vovnet.model.sequences import Batch, ImageFeatures, Pixels, Prompt, TokenSequence

_QUESTION_MARK = "\x00question\x00"


Prefix = Any
"""Sequences that have been processed: a `padded.Prefix` or a `packed_cache.PackedCache`."""


@dataclass(frozen=True)
class Generated:
    """The tokens of an answer, without the end token that `ended` tells of.

    `log_probability` is the sum over these tokens and the end token, in nats, of the model's
    own distribution (a sampling temperature is left out).
    """

    token_ids: tuple[int, ...]
    ended: bool
    log_probability: float

    @property
    def num_passes(self) -> int:
        """Tokens that were fed back: every one but the last that was picked."""
        return len(self.token_ids) - (not self.ended)


class VisionLanguageModel(nn.Module, ABC):
    """A model with its tokenizer; a family's module names its subclass as `MODEL`.

    `model` is the transformers model, which `passes` runs over batches. `pad_id` fills batches,
    `end_id` ends an answer.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    flops: ModelFlops
    pad_id: int
    end_id: int

    def __init__(self, settings: ModelSettings, budget: VisionBudget) -> None:
        """A subclass loads the model here; one that does not fit `budget` is an error."""
        super().__init__()
        self.packs = settings.attn_implementation == varlen.NAME
        self.passes = PackedPasses(self) if self.packs else PaddedPasses(self)
        self._frames: dict[str, tuple[list[int], list[int]]] = {}

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    @abstractmethod
    def tower(self) -> nn.Module:
        """The vision tower, whose layers are its `blocks`."""

    @property
    def hidden_size(self) -> int:
        """Of the language model, D."""
        return self.model.config.get_text_config().hidden_size

    def logits(self, hidden_D: Tensor) -> Tensor:
        """The logits of the token that follows each hidden state."""
        return self.model.get_output_embeddings()(hidden_D)

    @abstractmethod
    def save_base(self, folder: Path) -> None:
        """Write the model with all that is loaded beside it, in the layout of transformers."""

    @abstractmethod
    def preprocess(self, images: Sequence[Image.Image], budget: ViewBudget | None) -> Pixels | None:
        """One sample's images resized to `budget` and cut into patches; None where none is shown.

        Must use `vovnet.core.cost.resized_size`, by which policies know the cost in advance.
        """

    @abstractmethod
    def encode(
        self, pixels: Sequence[Pixels | None], *, attention: bool = False
    ) -> list[tuple[ImageFeatures, ...]]:
        """Encode the images of several samples in one pass of the vision tower.

        With `attention`, images also tell that of the tower's last layer.
        """

    @abstractmethod
    def sequence(
        self, prompt: Prompt, images: tuple[ImageFeatures, ...] = (), answer: Sequence[int] = ()
    ) -> TokenSequence:
        """The whole sequence of a view (no images: the text pass), with the answer in training."""

    @abstractmethod
    def forward(
        self, batch: Batch, cache: DynamicCache | None, mask_BT: Tensor | None, **lengths: Any
    ) -> Tensor:
        """Run the language model over `batch` after what `cache` holds; returns hidden_BTD.

        `mask_BT` covers the cached and the new tokens. The cache, if any, grows in place. Of packed
        sequences `lengths` tells `vovnet.model.varlen.attention` instead.
        """

    @abstractmethod
    def embed(self, batch: Batch) -> Tensor:
        """What enters the first layer of the language model, with the images in it (B, T, D)."""

    @abstractmethod
    def run_layers(
        self,
        hidden_BTD: Tensor,
        batch: Batch,
        layers: range,
        cache: DynamicCache | None,
        mask_BT: Tensor | None,
        **lengths: Any,
    ) -> Tensor:
        """Run some layers in a row, as `forward` runs all of them; returns hidden_BTD.

        `mask_BT` covers what these layers have cached, and the new tokens.
        """

    @abstractmethod
    def last_norm(self, hidden_BTD: Tensor) -> Tensor:
        """What `forward` makes of the last layer's states."""

    @abstractmethod
    def queries(self, hidden_BTD: Tensor, positions_3BT: Tensor, layer: int) -> Tensor:
        """The queries (B, T, heads, size of a head) of what enters a layer."""

    @abstractmethod
    def generate_plain(
        self,
        prompts: Sequence[Prompt],
        images: Sequence[Sequence[Image.Image]],
        budget: ViewBudget | None,
        max_new_tokens: int,
        num_beams: int = 1,
    ) -> list[list[int]]:
        """Transformers' own `generate` on whole prompts, padded together: greedy, or with beams."""

    def prompt(self, question: str, system: str = "", image_first: bool = False) -> Prompt:
        """Tokenise with the model's own chat template. Special tokens in the question are text."""
        head, tail = self._frame(system)
        ids = self.tokenizer(question, add_special_tokens=False, split_special_tokens=True)
        return Prompt(head, ids["input_ids"], tail, image_first)

    def _frame(self, system: str) -> tuple[list[int], list[int]]:
        """The chat template's tokens before and after the user's content."""
        if system not in self._frames:
            said = [("system", system), ("user", _QUESTION_MARK)][not system :]
            messages = [
                {"role": role, "content": [{"type": "text", "text": text}]} for role, text in said
            ]
            texts = chat_text(self.tokenizer, messages).split(_QUESTION_MARK)
            if len(texts) != 2:
                raise CheckpointError(
                    f"model.base_model_name: the chat template of {self.tokenizer.name_or_path!r}"
                    f" shows a question {len(texts) - 1} times, expected once"
                )
            head, tail = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
            self._frames[system] = (head, tail)
        return self._frames[system]

    def answer_ids(self, text: str, limit: int) -> list[int]:
        """Tokens of a gold answer and the end token, cut off after `limit`.

        What is cut off has no end token: the model must not learn to stop there.
        """
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [*ids, self.end_id][:limit]

    def decode_text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()

    def hidden_states(self, sequences: Sequence[TokenSequence]) -> tuple[Tensor, Tensor]:
        """Hidden states (B, T, D) of whole sequences, as training needs them, and their mask."""
        return self.passes.hidden_states(sequences)

    def prefill(
        self, sequences: Sequence[TokenSequence], prefix: Prefix | None = None
    ) -> tuple[Tensor, Tensor, Prefix]:
        """Process sequences, after `prefix` if given (which is used up).

        Returns the hidden states (B, T, D) of the new tokens, padded on the left, their mask, and
        the grown prefix.
        """
        return self.passes.prefill(sequences, prefix)

    def generate(
        self,
        logits_BV: Tensor,
        next_positions_B: Tensor,
        prefix: Prefix,
        max_new_tokens: int,
        temperature: float | None = None,
        seeds: Sequence[int] | None = None,
    ) -> list[Generated]:
        """Free generation after a processed prompt: greedy, or sampled with a seed per sample.

        A seed per sample makes the result independent of the batch it is in.
        """
        generators = None
        if temperature is not None:
            if seeds is None or len(seeds) != logits_BV.shape[0]:
                raise ValueError("sampling needs one seed per sample")
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        done_B = torch.zeros(len(logits_BV), dtype=torch.bool, device=logits_BV.device)
        total_B = torch.zeros(len(logits_BV), device=logits_BV.device)
        steps: list[Tensor] = []
        decoder = self.passes.decoder(prefix, max_new_tokens)
        for step in range(max_new_tokens):
            token_B = _pick(logits_BV, temperature, generators)
            token_B = torch.where(done_B, self.end_id, token_B)
            total_B = total_B + torch.where(done_B, 0.0, log_probabilities(logits_BV, token_B))
            steps.append(token_B)
            done_B = done_B | (token_B == self.end_id)
            if bool(done_B.all()) or step + 1 == max_new_tokens:
                break
            logits_BV = decoder(token_B, next_positions_B + step, done_B)
        answers = []
        for row, total in zip(torch.stack(steps, dim=1).tolist(), total_B.tolist(), strict=True):
            ended = self.end_id in row
            tokens = row[: row.index(self.end_id)] if ended else row
            answers.append(Generated(tuple(tokens), ended, total))
        return answers


def log_probabilities(logits_NV: Tensor, tokens_N: Tensor) -> Tensor:
    """Log-probability of each token under its logits, (N,), in nats."""
    return torch.log_softmax(logits_NV.float(), dim=-1).gather(1, tokens_N[:, None])[:, 0]


def _pick(
    logits_BV: Tensor, temperature: float | None, generators: list[torch.Generator] | None
) -> Tensor:
    if temperature is None or generators is None:
        return logits_BV.argmax(dim=-1)
    probabilities_BV = torch.softmax(logits_BV.float() / temperature, dim=-1).cpu()
    drawn = [
        torch.multinomial(probabilities_V, 1, generator=generator)
        for probabilities_V, generator in zip(probabilities_BV, generators, strict=True)
    ]
    return torch.cat(drawn).to(logits_BV.device)
