"""What the families of Qwen's vision-language models share. Source: transformers' classes.

Shapes: B samples, T tokens, D hidden size, K image tokens.
"""

import zlib
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, DynamicCache, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.masking_utils import create_causal_mask
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb
from transformers.vision_utils import get_vision_position_ids

from vovnet.config import ModelSettings, VisionBudget
from vovnet.core.cost import ViewBudget, resized_size
from vovnet.core.errors import CheckpointError
from vovnet.model import varlen
from vovnet.model.packed_cache import cumulative
from vovnet.model.sequences import (
    Batch,
    ImageFeatures,
    Pixels,
    Prompt,
    TokenSequence,
    assemble,
    sent,
)
from vovnet.model.tower_attention import layer_inputs, tower_attention
from vovnet.model.vlm import VisionLanguageModel


class QwenVL(VisionLanguageModel):
    """The model with its tokenizer and image processor.

    A family names its class of transformers as `architecture`, and counts its operations.
    """

    architecture: type[PreTrainedModel]

    def __init__(self, settings: ModelSettings, budget: VisionBudget) -> None:
        super().__init__(settings, budget)
        name, revision = settings.base_model_name, settings.revision
        load = self._random_model if settings.random_weights else self._stored_model
        self.model = load(
            name,
            revision=revision,
            dtype=getattr(torch, settings.dtype),
            attn_implementation=settings.attn_implementation,
            trust_remote_code=False,
            use_safetensors=True,
        )
        self.tokenizer = AutoTokenizer.from_pretrained(
            name, revision=revision, trust_remote_code=False
        )
        self.image_processor = Qwen2VLImageProcessorPil.from_pretrained(name, revision=revision)
        vision, processor = self.model.config.vision_config, self.image_processor
        sizes = (budget.patch_size, budget.spatial_merge_size)
        if (vision.patch_size, vision.spatial_merge_size) != sizes:
            raise CheckpointError(
                f"vision_budget: patch_size and spatial_merge_size are {budget.patch_size} and"
                f" {budget.spatial_merge_size}, but {name!r} has {vision.patch_size} and"
                f" {vision.spatial_merge_size}"
            )
        if (processor.patch_size, processor.merge_size) != sizes:
            raise CheckpointError(
                f"model.base_model_name: preprocessor_config.json of {name!r} has the patch_size"
                f" {processor.patch_size} and the merge_size {processor.merge_size}, config.json"
                f" {budget.patch_size} and {budget.spatial_merge_size}"
            )
        if settings.attn_implementation == varlen.NAME:
            varlen.tell_tower(self.model)
        if settings.gradient_checkpointing and not settings.compile:
            self.model.activation_checkpointing_enable()
        self._layouts: dict[tuple[Any, ...], dict[str, Tensor]] = {}
        self.factor = budget.factor
        self.image_token_id: int = self.model.config.image_token_id
        self.vision_start_id: int = self.model.config.vision_start_token_id
        self.vision_end_id: int = self.model.config.vision_end_token_id
        self.end_id: int = self.tokenizer.convert_tokens_to_ids("<|im_end|>")
        self.pad_id: int = self.tokenizer.convert_tokens_to_ids("<|endoftext|>")
        self._check_tokens(name)

    def _check_tokens(self, name: str) -> None:
        """Refuse a tokenizer that is not this model's: a token without an embedding would crash."""
        self.tokenizer("?")  # a library's error is one line here
        rows = cast(nn.Embedding, self.model.get_input_embeddings()).num_embeddings
        special = (self.image_token_id, self.vision_start_id, self.vision_end_id)
        known = all(
            isinstance(token, int) and 0 <= token < rows
            for token in (*special, self.end_id, self.pad_id, len(self.tokenizer) - 1)
        )
        if not known or self.end_id == self.tokenizer.unk_token_id:
            raise CheckpointError(
                f"model.base_model_name: {name!r} has a tokenizer of another model: it has"
                f" {len(self.tokenizer)} tokens, and the model embeds {rows}; expected, among them,"
                " <|im_end|>, <|endoftext|> and the tokens around images that config.json names"
            )

    def _stored_model(self, name: str, **how: Any) -> PreTrainedModel:
        """With every weight from the files: what is missing there would be drawn at random."""
        model, found = self.architecture.from_pretrained(name, output_loading_info=True, **how)
        if missing := sorted(found["missing_keys"]):
            raise CheckpointError(
                f"model.base_model_name: the files of {name!r} lack {len(missing)} weights of the"
                f" model, such as {missing[0]!r}"
            )
        return model

    def _random_model(
        self,
        name: str,
        revision: str | None,
        dtype: torch.dtype,
        attn_implementation: str,
        **_: bool,
    ) -> PreTrainedModel:
        """Weights drawn where the model will run: a large model's would take minutes elsewhere."""
        config = self.architecture.config_class.from_pretrained(name, revision=revision)
        torch.manual_seed(0)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"), no_init_weights():
            model = self.architecture._from_config(
                config, dtype=dtype, attn_implementation=attn_implementation
            )
            with torch.no_grad():
                for name, value in model.named_parameters():
                    if value.dim() > 1:
                        value.normal_(0, 0.02)
                    else:
                        value.fill_(name.endswith("weight"))  # of a norm, whose bias is 0
        return model.eval()

    @property
    def tower(self) -> nn.Module:
        return self.model.model.visual

    def save_base(self, folder: Path) -> None:
        self.model.save_pretrained(folder, max_shard_size="1000TB")  # one file, whatever its size
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)

    def preprocess(self, images: Sequence[Image.Image], budget: ViewBudget | None) -> Pixels | None:
        if budget is None or not images:
            return None
        # The processor's own limits are switched off, so that the budget is what is spent.
        resized = []
        for image in images:
            size = resized_size(image.width, image.height, budget, self.factor)
            bicubic = Image.Resampling.BICUBIC
            resized.append(image if image.size == size else image.resize(size, bicubic))
        inputs = self.image_processor(images=resized, do_resize=False, return_tensors="pt")
        seeds = tuple(zlib.crc32(image.tobytes()) for image in resized)
        values_PC = inputs["pixel_values"].to(self.model.dtype)
        return Pixels(values_PC, inputs["image_grid_thw"], seeds)

    def encode(
        self, pixels: Sequence[Pixels | None], *, attention: bool = False
    ) -> list[tuple[ImageFeatures, ...]]:
        shown = [item for item in pixels if item is not None]
        if not shown:
            return [() for _ in pixels]
        grids_N3 = torch.cat([item.grids_N3 for item in shown])
        last_layer = cast(Any, self.tower).blocks[-1]
        with layer_inputs(last_layer, wanted=attention) as inputs:
            output = self.model.model.get_image_features(
                torch.cat([sent(item.values_PC, self.device) for item in shown]),
                grids_N3,
                return_dict=True,
                **self.tower_layout(grids_N3),
            )
        merge = self.model.config.vision_config.spatial_merge_size
        told = None
        if attention:
            places_K = self.tower_places(grids_N3)
            told = tower_attention(last_layer, inputs, merge**2).take(places_K)
        levels = [_flatten(level) for level in self.deepstack_features(output)]
        tokens_KD = _flatten(output.pooler_output)
        features, start = [], 0
        seeds = [seed for item in shown for seed in item.seeds]
        for seed, (_, patch_rows, patch_columns) in zip(seeds, grids_N3.tolist(), strict=True):
            rows, columns = patch_rows // merge, patch_columns // merge
            part = slice(start, start + rows * columns)
            start = part.stop
            grid = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            places_2K = torch.stack(grid).reshape(2, -1)
            deepstack = tuple(level[part] for level in levels)
            own = told and told.take(part)
            image = ImageFeatures(tokens_KD[part], deepstack, places_2K, (rows, columns), seed, own)
            features.append(image)
        images = iter(features)
        return [
            () if item is None else tuple(next(images) for _ in range(len(item.grids_N3)))
            for item in pixels
        ]

    def sequence(
        self, prompt: Prompt, images: tuple[ImageFeatures, ...] = (), answer: Sequence[int] = ()
    ) -> TokenSequence:
        shown: list[list[int] | ImageFeatures] = []
        for image in images:
            shown += [[self.vision_start_id], image, [self.vision_end_id]]
        return assemble([*prompt.around(shown), list(answer)], self.image_token_id)

    def forward(
        self, batch: Batch, cache: DynamicCache | None, mask_BT: Tensor | None, **lengths: Any
    ) -> Tensor:
        layers = range(len(self.model.model.language_model.layers))
        hidden_BTD = self.run_layers(self.embed(batch), batch, layers, cache, mask_BT, **lengths)
        return self.last_norm(hidden_BTD)

    def embed(self, batch: Batch) -> Tensor:
        embeds_BTD = self.model.get_input_embeddings()(batch.ids_BT)
        if batch.images:
            tokens_KD = torch.cat([image.embeddings_KD for image in batch.images])
            flat_ND = embeds_BTD.flatten(0, 1)
            flat_ND = flat_ND.index_copy(0, batch.image_places_K, tokens_KD.to(flat_ND.dtype))
            embeds_BTD = flat_ND.view_as(embeds_BTD)
        return embeds_BTD

    def run_layers(
        self,
        hidden_BTD: Tensor,
        batch: Batch,
        layers: range,
        cache: DynamicCache | None,
        mask_BT: Tensor | None,
        **lengths: Any,
    ) -> Tensor:
        language, mask = self.model.model.language_model, None
        if mask_BT is not None:
            # These layers may have cached fewer tokens than others do.
            mask = create_causal_mask(
                language.config, hidden_BTD, mask_BT, cache, layer_idx=layers.start
            )
        rotation = language.rotary_emb(hidden_BTD, batch.positions_3BT)
        levels = self.deepstack_levels(batch.images)
        for index in layers:
            hidden_BTD = language.layers[index](
                hidden_BTD,
                attention_mask=mask,
                position_ids=None,
                past_key_values=cache,
                position_embeddings=rotation,
                use_cache=cache is not None,
                **lengths,
            )
            if index < len(levels):
                level_KD = levels[index].to(hidden_BTD.dtype)
                flat_ND = hidden_BTD.flatten(0, 1).index_add(0, batch.image_places_K, level_KD)
                hidden_BTD = flat_ND.view_as(hidden_BTD)
        return hidden_BTD

    def last_norm(self, hidden_BTD: Tensor) -> Tensor:
        return self.model.model.language_model.norm(hidden_BTD)

    def queries(self, hidden_BTD: Tensor, positions_3BT: Tensor, layer: int) -> Tensor:
        language = self.model.model.language_model
        attention, norm = language.layers[layer].self_attn, language.layers[layer].input_layernorm
        query_BTHE = attention.q_proj(norm(hidden_BTD)).unflatten(-1, (-1, attention.head_dim))
        query_BTHE = self.normed_queries(attention, query_BTHE)
        rotation = language.rotary_emb(hidden_BTD, positions_3BT)
        rotated_BTHE, _ = apply_rotary_pos_emb(query_BTHE, query_BTHE, *rotation, unsqueeze_dim=2)
        return rotated_BTHE

    def normed_queries(self, attention: nn.Module, query_BTHE: Tensor) -> Tensor:
        """Queries as a family's attention norms them before they are rotated."""
        return query_BTHE

    def deepstack_levels(self, images: Sequence[ImageFeatures]) -> list[Tensor]:
        """What is added to all images' tokens behind the first layers, one tensor for each."""
        return [
            torch.cat(level) for level in zip(*(item.deepstack for item in images), strict=True)
        ]

    def tower_layout(self, grids_N3: Tensor) -> dict[str, Any]:
        """What transformers' tower works out from the sizes of its images, by its names.

        What is the same for all images of a size is kept on the device: to work it out there makes
        the host wait for the device, and to do so on the CPU the device for the host.
        """
        kept = [self._kept_layout(grid) for grid in grids_N3.tolist()]
        lengths = grids_N3.prod(dim=1).tolist()
        layout = {name: torch.cat([part[name] for part in kept]) for name in kept[0]}
        starts = cumulative(lengths, self.device)
        return {**layout, "cu_seqlens": starts, "max_seqlen": max(lengths)}

    def _kept_layout(self, grid: list[int]) -> dict[str, Tensor]:
        key = (self.device, *grid)
        if key not in self._layouts:
            with torch.inference_mode(False):  # it may be used in training later
                layout = self.image_layout(torch.tensor([grid]))
                self._layouts[key] = {name: value.to(self.device) for name, value in layout.items()}
        return self._layouts[key]

    def image_layout(self, grid_13: Tensor) -> dict[str, Tensor]:
        """The part of the `tower_layout` that a single image has whatever stands beside it."""
        merge = self.model.config.vision_config.spatial_merge_size
        return {"position_ids": get_vision_position_ids(grid_13, merge)}

    def tower_places(self, grids_N3: Tensor) -> Tensor | slice:
        """Where the tower's layers have the tokens of all images."""
        return slice(None)

    def deepstack_features(self, output: Any) -> Sequence[Tensor | Sequence[Tensor]]:
        """The levels of a tower's output that enter deeper layers, where a family has them."""
        return ()

    def generate_plain(
        self,
        prompts: Sequence[Prompt],
        images: Sequence[Sequence[Image.Image]],
        budget: ViewBudget | None,
        max_new_tokens: int,
        num_beams: int = 1,
    ) -> list[list[int]]:
        pixels = [self.preprocess(shown, budget) for shown in images]
        # Each prompt has a placeholder for every token of its images.
        area = self.model.config.vision_config.spatial_merge_size**2
        start, end = [self.vision_start_id], [self.vision_end_id]
        rows = []
        for prompt, item in zip(prompts, pixels, strict=True):
            counts = [] if item is None else (item.grids_N3.prod(dim=1) // area).tolist()
            shown = [start + [self.image_token_id] * count + end for count in counts]
            rows.append(torch.tensor([*chain(*prompt.around(shown))]))
        if self.packs and len({len(row) for row in rows}) > 1:
            raise ValueError("attention by lengths cannot leave out the padding of `generate`")
        ids_BT = pad_sequence(rows, True, self.pad_id, "left")
        mask_BT = pad_sequence([torch.ones_like(row) for row in rows], True, 0, "left")
        inputs = {"input_ids": ids_BT, "attention_mask": mask_BT}
        if cut := [item for item in pixels if item is not None]:
            inputs["pixel_values"] = torch.cat([item.values_PC for item in cut])
            inputs["image_grid_thw"] = torch.cat([item.grids_N3 for item in cut])
            inputs["mm_token_type_ids"] = (ids_BT == self.image_token_id).int()
        self.model.model.rope_deltas = None
        output_BT = self.model.generate(
            **{name: value.to(self.device) for name, value in inputs.items()},
            num_beams=num_beams,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=self.end_id,
            pad_token_id=self.pad_id,
        )
        answers = output_BT[:, ids_BT.shape[1] :].tolist()
        return [ids[: ids.index(self.end_id)] if self.end_id in ids else ids for ids in answers]


def _flatten(features: Tensor | Sequence[Tensor]) -> Tensor:
    return features if isinstance(features, Tensor) else torch.cat(list(features))
