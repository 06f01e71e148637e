"""Asking a trained model: the text pass, then an answer under a view.

Observation (batched) and live runs (sample by sample) both use it, so that they cannot
differ. Shapes: B samples, T tokens, D hidden size, V vocabulary.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vovnet.config import Settings, check_prompt_order
from vovnet.core.cost import ViewBudget
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.records import Sample
from vovnet.data.prompts import question_text
from vovnet.model.flops import AnswerFlops
from vovnet.model.sequences import ImageFeatures, Pixels, Prompt, TokenSequence, sent
from vovnet.model.vlm import Generated, Prefix, log_probabilities
from vovnet.model.vovnet import Reading, VoVNet, uncertainty
from vovnet.views import num_vision_tokens, parse_view, view_budget

Signals = dict[str, str | float | int]
"""A row of signals.parquet."""

Encoded = list[tuple[ImageFeatures, ...]]
"""The encoded images of each sample."""


@dataclass(frozen=True)
class Answer:
    """What a view yields for one sample: a row of an observation, and the generated tokens.

    `records.OBSERVATION_COLUMNS` says what the fields hold.
    """

    text: str
    vision_tokens: int
    prompt_tokens: int
    generated_tokens: int
    entropy: float
    margin: float
    log_probability: float
    flops: AnswerFlops | None
    token_ids: tuple[int, ...]

    def executed_flops(self, *, after_text: bool) -> float:
        """FLOPs of tower and language model, which may go on from the cache of a text pass.

        NaN where they were not counted.
        """
        if self.flops is None:
            return math.nan
        own = self.flops
        return own.vision_tower + (own.language_model if after_text else own.language_model_alone)

    @property
    def columns(self) -> dict[str, object]:
        """Its columns of an observation; FLOPs are empty where they were not counted."""
        counted = {} if self.flops is None else vars(self.flops)
        return vars(self) | {f"flops_{part}": count for part, count in counted.items()}


Clock = Callable[[str], AbstractContextManager[object]]
"""Times the named part of an answer (`vovnet.evaluation.live_columns.PARTS`)."""


@dataclass(frozen=True)
class TextPass:
    """A batch of questions after the text pass: signals, and what answering goes on from."""

    samples: Sequence[Sample]
    prompts: list[Prompt]
    signals: list[Signals]
    reading: Reading
    next_positions_B: Tensor
    prefix: Prefix

    @property
    def states(self) -> NDArray[np.float16]:
        """The pooled states as they are stored, (B, F)."""
        return self.reading.states_BF.half().cpu().numpy()


class Inference:
    """A trained model with the settings under which it answers.

    `halved_batches` counts those that were too large for the device's memory.
    """

    def __init__(self, model: VoVNet, settings: Settings) -> None:
        check_prompt_order(settings)
        if settings.eval.num_beams > 1 and settings.eval.do_sample:
            raise ConfigError("eval.do_sample: sampling with num_beams > 1 is not offered")
        self.model, self.vlm = model, model.vlm
        self.settings = settings
        self.halved_batches = 0
        self.fitting_tokens: int | None = None

    def prompts(self, samples: Sequence[Sample]) -> list[Prompt]:
        data = self.settings.data
        image_first = data.prompt_order == "image_first"
        texts = (question_text(sample, data.prompt_template) for sample in samples)
        return [self.vlm.prompt(text, data.system_prompt, image_first) for text in texts]

    def view_tokens(self, sample: Sample, view: str) -> int:
        """Vision tokens that a view of this sample costs, known from its image sizes."""
        sizes = [(image.width, image.height) for image in sample.images]
        return num_vision_tokens(sizes, view, self.settings.vision_budget)

    def costs(self, sample: Sample) -> Signals:
        """What is known of a sample before the text pass: what each action would cost."""
        actions = self.settings.actions
        tokens = {f"tokens_{view}": self.view_tokens(sample, view) for view in actions}
        return {"id": sample.id, **tokens}

    @torch.inference_mode()
    def text_pass(self, samples: Sequence[Sample]) -> TextPass:
        """Run the questions alone and read the signals where the answer would begin."""
        prompts, actions = self.prompts(samples), self.settings.actions
        sequences = [self.vlm.sequence(prompt) for prompt in prompts]
        hidden_BTD, mask_BT, prefix = self.vlm.prefill(sequences)
        last_B = torch.full((len(samples),), hidden_BTD.shape[1] - 1, device=hidden_BTD.device)
        reading = self.model.read(hidden_BTD, mask_BT, last_B)
        read = torch.cat(
            [reading.entropy_B[:, None], reading.margin_B[:, None], reading.scores_BA], dim=1
        )
        scored = actions[: reading.scores_BA.shape[1]]  # a base model scores no action
        names = ["entropy", "margin", *(f"score_{name}" for name in scored)]
        signals: list[Signals] = []
        for sample, sequence, values in zip(
            samples, sequences, read.double().tolist(), strict=True
        ):
            length = sequence.length
            counts = {"text_tokens": length, "flops_text_pass": self.model.text_pass_flops(length)}
            signals.append(self.costs(sample) | dict(zip(names, values, strict=True)) | counts)
        positions_B = _next_positions(sequences, hidden_BTD.device)
        return TextPass(samples, prompts, signals, reading, positions_B, prefix)

    @torch.inference_mode()
    def encode(
        self,
        images: Sequence[Sequence[Image.Image]],
        budget: ViewBudget | None,
        clock: Clock = nullcontext,
        *,
        attention: bool = False,
    ) -> Encoded:
        """Each sample's images, encoded once for every view of this budget.

        Views that read the tower's attention need it.
        """
        with clock("preprocessing"):
            pixels = [self.vlm.preprocess(shown, budget) for shown in images]
        with clock("vision_encoding"):
            return self.encode_pixels(pixels, attention=attention)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Sequence[Pixels | None], *, attention: bool = False) -> Encoded:
        """Each sample's images, preprocessed before."""
        return self.vlm.encode(pixels, attention=attention)

    def batch_tokens(self) -> int | None:
        """The most tokens at once: as configured, or what the GPU's free memory has room for.

        A token needs its keys and values twice, in the cache of the prompt and in that of the
        answer, and the activations of one layer.
        """
        if self.fitting_tokens is not None:
            return self.fitting_tokens
        device = self.vlm.device
        if self.settings.eval.batch_tokens is not None or device.type != "cuda":
            return self.settings.eval.batch_tokens
        free = torch.cuda.get_device_properties(device).total_memory
        free -= torch.cuda.memory_allocated(device)
        size = self.vlm.flops.language_model
        cached = 4 * size.num_hidden_layers * size.num_key_value_heads * size.head_dim
        numbers = cached + 8 * size.hidden_size + 4 * size.intermediate_size
        size_of_one = numbers * self.vlm.model.dtype.itemsize
        self.fitting_tokens = max(1, int(0.75 * free / size_of_one))
        return self.fitting_tokens

    def sequences(
        self, prompts: Sequence[Prompt], encoded: Encoded, view: str
    ) -> list[TokenSequence]:
        """Whole sequences in which the encoded images are shown as a view shows them."""
        reductions, dropping = parse_view(view).reductions, parse_view(view).dropping
        if dropping is not None:
            self.vlm.flops.language_model.check(dropping)
        sequences = []
        for prompt, shown in zip(prompts, encoded, strict=True):
            images = tuple(image.reduced(reductions) for image in shown)
            sequences.append(replace(self.vlm.sequence(prompt, images), dropping=dropping))
        return sequences

    @torch.inference_mode()
    def answer(
        self,
        samples: Sequence[Sample],
        view: str,
        images: Sequence[Sequence[Image.Image]],
        text_pass: TextPass | None = None,
        encoded: Encoded | None = None,
        clock: Clock = nullcontext,
    ) -> list[Answer]:
        """Answer under a view by free generation.

        `text_pass` is that of the same samples; with `eval.cache_reuse` its cache is cropped
        back to the shared prefix and extended, otherwise, or without it, everything is
        computed anew. `images` holds each sample's images (none are read for `no`); `encoded`
        is what `encode` made of them within the view's budget, where that was done before, with
        the tower's attention if the view needs it.
        """
        if self.settings.eval.num_beams > 1:
            pairs = zip(samples, images, strict=True)
            return [self._beams(sample, view, shown, clock) for sample, shown in pairs]
        reuse = text_pass if self.settings.eval.cache_reuse else None
        budget = view_budget(view, self.settings.vision_budget)
        with clock("preprocessing"):
            prompts = reuse.prompts if reuse else self.prompts(samples)
        attention = parse_view(view).needs_attention
        if encoded is None:
            encoded = self.encode(images, budget, clock, attention=attention)
        with clock("prefill"):
            sequences = self.sequences(prompts, encoded, view)
            self._check_counts(samples, view, sequences)
            if reuse and budget is None:
                logits_BV, positions_B = reuse.reading.logits_BV, reuse.next_positions_B
                prefix = reuse.prefix.copy()
            else:
                logits_BV, positions_B, prefix = self._prefill(sequences, prompts, reuse)
        with clock("generation"):
            generated = self.vlm.generate(
                logits_BV,
                positions_B,
                prefix,
                self.settings.eval.max_new_tokens,
                self.settings.eval.temperature if self.settings.eval.do_sample else None,
                [self._seed(sample, view) for sample in samples],
            )
        flops = []
        rows = zip(prompts, encoded, sequences, generated, strict=True)
        for prompt, shown, sequence, found in rows:
            cached = len(prompt.text_ids) if budget is None else prompt.num_shared
            asked = ([image.grid for image in shown], sequence.length, found.num_passes)
            left, dropped = cached if reuse else None, sequence.dropped
            counted = self.vlm.flops.answer(*asked, left, attention=attention, dropped=dropped)
            flops.append(counted)
        return self._answers(logits_BV, sequences, generated, flops)

    def _answers(
        self,
        logits_BV: Tensor,
        sequences: list[TokenSequence],
        generated: list[Generated],
        flops: Sequence[AnswerFlops | None],
    ) -> list[Answer]:
        """The answers that were generated; `logits_BV` are those of their first tokens."""
        confidences_B2 = torch.stack(uncertainty(logits_BV), dim=1).double()
        rows = zip(confidences_B2.tolist(), sequences, generated, flops, strict=True)
        layers = self.vlm.flops.language_model.num_hidden_layers
        return [
            Answer(
                text=self.vlm.decode_text(found.token_ids),
                vision_tokens=sequence.mean_vision_tokens(layers),
                prompt_tokens=sequence.length,
                generated_tokens=len(found.token_ids),
                entropy=entropy,
                margin=margin,
                log_probability=found.log_probability,
                flops=counted,
                token_ids=found.token_ids,
            )
            for (entropy, margin), sequence, found, counted in rows
        ]

    def _prefill(
        self, sequences: list[TokenSequence], prompts: list[Prompt], reuse: TextPass | None
    ) -> tuple[Tensor, Tensor, Prefix]:
        """Next-token logits (B, V), positions (B,) and cache after the prompts of a view."""
        if reuse:
            (drop,) = {len(prompt.tail) for prompt in prompts}
            pairs = zip(sequences, prompts, strict=True)
            parts = [sequence.take(prompt.num_shared) for sequence, prompt in pairs]
            hidden_BTD, _, prefix = self.vlm.prefill(parts, reuse.prefix.copy(drop))
        else:
            hidden_BTD, _, prefix = self.vlm.prefill(sequences)
        logits_BV = self.vlm.logits(hidden_BTD[:, -1])
        return logits_BV, _next_positions(sequences, logits_BV.device), prefix

    def _beams(
        self, sample: Sample, view: str, images: Sequence[Image.Image], clock: Clock
    ) -> Answer:
        """The answer of a beam search; its confidence is read from one pass over the result."""
        if parse_view(view).reductions:
            raise ConfigError(f"eval.num_beams: must be 1 for the reduced view {view!r}")
        (prompt,) = self.prompts([sample])
        evaluation = self.settings.eval
        budget = view_budget(view, self.settings.vision_budget)
        with clock("generation"):
            (row,) = self.vlm.generate_plain(
                [prompt], [images], budget, evaluation.max_new_tokens, evaluation.num_beams
            )
        (features,) = self.encode([images], budget)
        sequence = self.vlm.sequence(prompt, features)
        self._check_counts([sample], view, [sequence])
        ended = len(row) < evaluation.max_new_tokens
        said = [*row, self.vlm.end_id] if ended else row
        hidden_BTD, _, _ = self.vlm.prefill([self.vlm.sequence(prompt, features, said)])
        logits_NV = self.vlm.logits(hidden_BTD[0, sequence.length - 1 : -1])
        said_N = torch.tensor(said, device=logits_NV.device)
        total = float(log_probabilities(logits_NV, said_N).sum())
        found = Generated(tuple(row), ended, total)
        (answer,) = self._answers(logits_NV[:1], [sequence], [found], [None])
        return answer

    def _check_counts(
        self, samples: Sequence[Sample], view: str, sequences: Sequence[TokenSequence]
    ) -> None:
        """The cost that a policy was told must be what entered the model (contract 6)."""
        for sample, sequence in zip(samples, sequences, strict=True):
            count, expected = sequence.num_vision_tokens, self.view_tokens(sample, view)
            if count != expected:
                raise DataError(
                    f"sample {sample.id!r}, view {view}: {count} vision tokens entered the model,"
                    f" its image sizes say {expected}"
                )

    def _seed(self, sample: Sample, view: str) -> int:
        """A seed for sampling that does not depend on batch or order."""
        text = f"{self.settings.eval.seed}\0{sample.id}\0{view}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])


def _next_positions(sequences: list[TokenSequence], device: torch.device) -> Tensor:
    """The position of the token that follows each sequence, (B,)."""
    return sent(torch.tensor([sequence.next_position for sequence in sequences]), device)
