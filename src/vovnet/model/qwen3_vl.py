"""Qwen3-VL: text pass, views, and free generation over a shared prefix.

The prompt is `[system][question][images][assistant header]` (text first). The text pass
runs `[system][question][assistant header]`; its cache, cropped back to the question, is
extended by the images of a view. Source: transformers' Qwen3VLForConditionalGeneration.

Shapes: B samples, T tokens, D hidden size, V vocabulary, K image tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    DynamicCache,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vovnet.config import ModelSettings, VisionBudget
from vovnet.core.cost import ViewBudget, resized_size
from vovnet.core.errors import CheckpointError, ConfigError, one_line
from vovnet.model.sequences import Batch, ImageFeatures, Pixels, TokenSequence, assemble, pad_left

_QUESTION_MARK = "\x00question\x00"


@dataclass(frozen=True)
class Prompt:
    """A tokenised prompt without its images: `head`, `question`, then `tail`."""

    head: list[int]
    question: list[int]
    tail: list[int]
    image_first: bool

    @property
    def text_ids(self) -> list[int]:
        """What the text pass processes."""
        return self.head + self.question + self.tail

    @property
    def num_shared(self) -> int:
        """Tokens before the images, which text pass and views share."""
        return len(self.head) if self.image_first else len(self.head) + len(self.question)


@dataclass
class Prefix:
    """A batch that has been processed: its cache, and the mask of the cached tokens."""

    cache: DynamicCache
    mask_BT: Tensor

    def copy(self, drop: int = 0) -> Prefix:
        """A copy without the last `drop` tokens; growing it leaves this one as it is.

        The tensors are shared: a layer replaces its own and never writes into them.
        """
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        length = self.mask_BT.shape[1] - drop
        if drop:
            cache.crop(-drop)
        return Prefix(cache, self.mask_BT[:, :length])


class Qwen3VL(nn.Module):
    """The model with its tokenizer and image processor."""

    def __init__(self, settings: ModelSettings, budget: VisionBudget) -> None:
        super().__init__()
        name, revision = settings.base_model_name, settings.revision
        try:
            self.model = Qwen3VLForConditionalGeneration.from_pretrained(
                name,
                revision=revision,
                dtype=getattr(torch, settings.dtype),
                attn_implementation=settings.attn_implementation,
            )
            self.tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
            self.image_processor = Qwen2VLImageProcessorPil.from_pretrained(name, revision=revision)
        except ImportError as error:
            raise ConfigError(
                f"model.attn_implementation: {settings.attn_implementation!r} cannot be used"
                f" ({one_line(error)})"
            ) from None
        except (OSError, ValueError) as error:
            first_line = str(error).splitlines()[0]
            raise CheckpointError(
                f"model.base_model_name: cannot load {name!r} ({first_line})"
            ) from None
        vision = self.model.config.vision_config
        if (vision.patch_size, vision.spatial_merge_size) != (
            budget.patch_size,
            budget.spatial_merge_size,
        ):
            raise CheckpointError(
                f"vision_budget: patch_size and spatial_merge_size are {budget.patch_size} and"
                f" {budget.spatial_merge_size}, but {name!r} has {vision.patch_size} and"
                f" {vision.spatial_merge_size}"
            )
        if settings.gradient_checkpointing:
            self.model.activation_checkpointing_enable()
        self.factor = budget.factor
        self.image_token_id: int = self.model.config.image_token_id
        self.vision_start_id: int = self.model.config.vision_start_token_id
        self.vision_end_id: int = self.model.config.vision_end_token_id
        self.end_id: int = self.tokenizer.convert_tokens_to_ids("<|im_end|>")
        self.pad_id: int = self.tokenizer.convert_tokens_to_ids("<|endoftext|>")
        self._frames: dict[str, tuple[list[int], list[int]]] = {}

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def hidden_size(self) -> int:
        return self.model.config.text_config.hidden_size

    # ---- prompts ----------------------------------------------------------------------

    def prompt(self, question: str, system: str = "", image_first: bool = False) -> Prompt:
        """Tokenise with the model's own chat template. Special tokens in the question are text."""
        head, tail = self._frame(system)
        ids = self.tokenizer(question, add_special_tokens=False, split_special_tokens=True)
        return Prompt(head, ids["input_ids"], tail, image_first)

    def _frame(self, system: str) -> tuple[list[int], list[int]]:
        """The chat template's tokens before and after the user's content."""
        if system not in self._frames:
            messages = [{"role": "system", "content": [{"type": "text", "text": system}]}]
            user = [{"type": "text", "text": _QUESTION_MARK}]
            messages = [*messages[: bool(system)], {"role": "user", "content": user}]
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            before, after = text.split(_QUESTION_MARK)
            head, tail = (
                self.tokenizer(part, add_special_tokens=False)["input_ids"]
                for part in (before, after)
            )
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

    # ---- images -----------------------------------------------------------------------

    def preprocess(self, images: Sequence[Image.Image], budget: ViewBudget | None) -> Pixels | None:
        """One sample's images resized to `budget` and cut into patches; None where none is shown.

        The image is resized here and the processor's own limits are switched off, so that the
        budget is what is spent.
        """
        if budget is None or not images:
            return None
        resized = [self._resize(image, budget) for image in images]
        inputs = self.image_processor(images=resized, do_resize=False, return_tensors="pt")
        return Pixels(inputs["pixel_values"], inputs["image_grid_thw"])

    def encode(self, pixels: Sequence[Pixels | None]) -> list[tuple[ImageFeatures, ...]]:
        """Encode the images of several samples in one pass of the vision tower."""
        shown = [item for item in pixels if item is not None]
        if not shown:
            return [() for _ in pixels]
        grids_N3 = torch.cat([item.grids_N3 for item in shown])
        output = self.model.model.get_image_features(
            torch.cat([item.values_PC for item in shown]).to(self.device),
            grids_N3.to(self.device),
            return_dict=True,
        )
        merge = self.model.config.vision_config.spatial_merge_size
        levels = [_flatten(level) for level in output.deepstack_features]
        tokens_KD = _flatten(output.pooler_output)
        features, start = [], 0
        for _, patch_rows, patch_columns in grids_N3.tolist():
            rows, columns = patch_rows // merge, patch_columns // merge
            part = slice(start, start + rows * columns)
            start = part.stop
            grid = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            features.append(
                ImageFeatures(
                    tokens_KD[part],
                    tuple(level[part] for level in levels),
                    torch.stack(grid).reshape(2, -1),
                    (rows, columns),
                )
            )
        images = iter(features)
        return [
            () if item is None else tuple(next(images) for _ in range(len(item.grids_N3)))
            for item in pixels
        ]

    def encode_images(
        self, images: Sequence[Sequence[Image.Image]], budget: ViewBudget | None
    ) -> list[tuple[ImageFeatures, ...]]:
        """Encode each sample's images within `budget`; none where it is None."""
        return self.encode([self.preprocess(sample, budget) for sample in images])

    def _resize(self, image: Image.Image, budget: ViewBudget) -> Image.Image:
        size = resized_size(image.width, image.height, budget, self.factor)
        image = image.convert("RGB")
        return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)

    # ---- sequences --------------------------------------------------------------------

    def sequence(
        self,
        prompt: Prompt,
        images: tuple[ImageFeatures, ...] = (),
        answer: Sequence[int] = (),
    ) -> TokenSequence:
        """The whole sequence of a view (no images: the text pass), with the answer in training."""
        shown: list[list[int] | ImageFeatures] = []
        for image in images:
            shown += [[self.vision_start_id], image, [self.vision_end_id]]
        if prompt.image_first:
            segments = [prompt.head, *shown, prompt.question, prompt.tail]
        else:
            segments = [prompt.head, prompt.question, *shown, prompt.tail]
        if answer:
            segments.append(list(answer))
        return assemble(segments, self.image_token_id)

    def forward(self, batch: Batch, cache: DynamicCache | None, mask_BT: Tensor) -> Tensor:
        """Run the language model over `batch` after what `cache` holds; returns hidden_BTD.

        `mask_BT` covers the cached and the new tokens. The cache, if any, grows in place.
        """
        embeds_BTD = self.model.get_input_embeddings()(batch.ids_BT)
        deepstack = None
        if batch.images:
            tokens_KD = torch.cat([image.embeddings_KD for image in batch.images])
            embeds_BTD = embeds_BTD.clone()
            embeds_BTD[batch.image_mask_BT] = tokens_KD.to(embeds_BTD.dtype)
            levels = zip(*(image.deepstack for image in batch.images), strict=True)
            deepstack = [torch.cat(level) for level in levels]
        output = self.model.model.language_model(
            inputs_embeds=embeds_BTD,
            attention_mask=mask_BT,
            position_ids=batch.positions_3BT,
            past_key_values=cache,
            use_cache=cache is not None,
            visual_pos_masks=batch.image_mask_BT if batch.images else None,
            deepstack_visual_embeds=deepstack,
        )
        return output.last_hidden_state

    def hidden_states(self, sequences: Sequence[TokenSequence]) -> tuple[Tensor, Batch]:
        """Hidden states of whole sequences, as training needs them (nothing is cached)."""
        batch = pad_left(sequences, self.pad_id, self.device)
        return self(batch, None, batch.mask_BT), batch

    def prefill(
        self, sequences: Sequence[TokenSequence], prefix: Prefix | None = None
    ) -> tuple[Tensor, Batch, Prefix]:
        """Process sequences, after `prefix` if given (which is used up).

        Returns hidden_BTD of the new tokens, their batch, and the grown prefix.
        """
        batch = pad_left(sequences, self.pad_id, self.device)
        if prefix is None:
            cache, mask_BT = DynamicCache(config=self.model.config.text_config), batch.mask_BT
        else:
            cache, mask_BT = prefix.cache, torch.cat([prefix.mask_BT, batch.mask_BT], dim=1)
        hidden_BTD = self(batch, cache, mask_BT)
        return hidden_BTD, batch, Prefix(cache, mask_BT)

    def logits(self, hidden_D: Tensor) -> Tensor:
        return self.model.lm_head(hidden_D)

    # ---- generation -------------------------------------------------------------------

    def generate(
        self,
        logits_BV: Tensor,
        next_positions_B: Tensor,
        prefix: Prefix,
        max_new_tokens: int,
        temperature: float | None = None,
        seeds: Sequence[int] | None = None,
    ) -> list[list[int]]:
        """Free generation after a processed prompt: greedy, or sampled with a seed per sample.

        A seed per sample makes the result independent of the batch it is in. Returns the new
        tokens of each sample up to and without the end token.
        """
        generators = None
        if temperature is not None:
            if seeds is None or len(seeds) != logits_BV.shape[0]:
                raise ValueError("sampling needs one seed per sample")
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        count = logits_BV.shape[0]
        done_B = torch.zeros(count, dtype=torch.bool, device=logits_BV.device)
        steps: list[Tensor] = []
        for step in range(max_new_tokens):
            token_B = _pick(logits_BV, temperature, generators)
            token_B = torch.where(done_B, self.end_id, token_B)
            steps.append(token_B)
            done_B = done_B | (token_B == self.end_id)
            if bool(done_B.all()) or step + 1 == max_new_tokens:
                break
            batch = Batch(
                token_B[:, None],
                torch.ones_like(token_B)[:, None],
                (next_positions_B + step).expand(3, -1)[..., None],
                torch.zeros(count, 1, dtype=torch.bool, device=logits_BV.device),
                (),
            )
            mask_BT = torch.cat([prefix.mask_BT, batch.mask_BT], dim=1)
            hidden_B1D = self(batch, prefix.cache, mask_BT)
            prefix = Prefix(prefix.cache, mask_BT)
            logits_BV = self.logits(hidden_B1D[:, -1])
        rows = torch.stack(steps, dim=1).tolist()
        return [row[: row.index(self.end_id)] if self.end_id in row else row for row in rows]

    def generate_plain(
        self,
        prompt: Prompt,
        images: Sequence[Image.Image],
        budget: ViewBudget | None,
        max_new_tokens: int,
        num_beams: int = 1,
    ) -> list[int]:
        """Transformers' own `generate` on the whole prompt of one sample: greedy, or with beams."""
        pixels = self.preprocess(images, budget)
        ids_1T = torch.tensor([self._plain_ids(prompt, pixels)], device=self.device)
        inputs = {"input_ids": ids_1T, "attention_mask": torch.ones_like(ids_1T)}
        if pixels is not None:
            inputs["pixel_values"] = pixels.values_PC.to(self.device)
            inputs["image_grid_thw"] = pixels.grids_N3.to(self.device)
            inputs["mm_token_type_ids"] = (ids_1T == self.image_token_id).int()
        self.model.model.rope_deltas = None
        output_1T = self.model.generate(
            **inputs,
            num_beams=num_beams,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=self.end_id,
            pad_token_id=self.pad_id,
        )
        ids = output_1T[0, ids_1T.shape[1] :].tolist()
        return ids[: ids.index(self.end_id)] if self.end_id in ids else ids

    def _plain_ids(self, prompt: Prompt, pixels: Pixels | None) -> list[int]:
        """A prompt with a placeholder for each token of its images."""
        area = self.model.config.vision_config.spatial_merge_size**2
        grids = [] if pixels is None else pixels.grids_N3.prod(dim=1).tolist()
        shown = [
            token
            for patches in grids
            for token in (
                self.vision_start_id,
                *[self.image_token_id] * (patches // area),
                self.vision_end_id,
            )
        ]
        if prompt.image_first:
            return prompt.head + shown + prompt.question + prompt.tail
        return prompt.head + prompt.question + shown + prompt.tail


def _flatten(features: Tensor | Sequence[Tensor]) -> Tensor:
    return features if isinstance(features, Tensor) else torch.cat(list(features))


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
