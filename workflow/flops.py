"""What an answer of each model costs at the sizes of config/paper.yaml."""

from __future__ import annotations

from pathlib import Path

from vovnet.config import VisionBudget, load
from vovnet.model.architectures import COUNTED, PUBLIC, answer_flops
from vovnet.model.flops import ModelFlops
from vovnet.views import num_vision_tokens, parse_view

CONFIG = Path(__file__).resolve().parents[1] / "config"
PHOTO = (1024, 768)
PROMPT_TOKENS, ANSWER_TOKENS = 45, 4
"""Tokens of the question with the assistant's header, and of the answer."""

VIEWS = ("no", "coarse", "full", "full+merge-cosine-0.5")

SAVES = "Qwen3-VL-8B"
SAVING, RATIOS = ("prune-divprune", "visionzip", "fastv"), (0.5, 0.25, 0.1)
"""Of all that reduce before the language model, pruning stands for those that read no attention."""

FILES = {"Qwen3-VL": ("paper.yaml",), "Qwen2.5-VL": ("paper.yaml", "qwen2_5_vl.yaml")}
"""The files under config/ that hold the sizes of images, by the beginning of a model's name."""


def flop_rows() -> list[list[str]]:
    """A row for each model and view, in 10^12 operations."""
    rows = []
    for name, config in PUBLIC.items():
        model = COUNTED[config["model_type"]](config)
        files = next(files for start, files in FILES.items() if name.startswith(start))
        sizes = load(CONFIG / file for file in files).vision_budget
        rows += [[name, f"`{view}`", *_columns(model, view, sizes)] for view in VIEWS]
    return rows


def _columns(model: ModelFlops, view: str, sizes: VisionBudget) -> list[str]:
    answer = answer_flops(model, [PHOTO], view, sizes, PROMPT_TOKENS, ANSWER_TOKENS)
    read = model.language_model.prefill(PROMPT_TOKENS)
    counts = (read, answer.vision_tower, answer.language_model, answer.language_model_alone)
    tokens = num_vision_tokens([PHOTO], view, sizes)
    return [str(tokens), *(f"{count / 1e12:.3f}" for count in counts)]


def saving_rows() -> list[list[str]]:
    """What reductions of FULL save of one model's answer: tokens, 10^12 operations, share left."""
    model = ModelFlops.of_qwen3_vl(PUBLIC[SAVES])
    sizes = load([CONFIG / "paper.yaml"]).vision_budget
    layers = model.language_model.num_hidden_layers
    whole, rows = None, []
    for view in ["full", *(f"full+{name}-{ratio}" for name in SAVING for ratio in RATIOS)]:
        answer = answer_flops(model, [PHOTO], view, sizes, PROMPT_TOKENS, ANSWER_TOKENS)
        tower, language = answer.vision_tower, answer.language_model_alone
        whole = whole or tower + language
        tokens, dropping = num_vision_tokens([PHOTO], view, sizes), parse_view(view).dropping
        if dropping is not None:
            tokens = dropping.mean_tokens(tokens, layers)
        numbers = [f"{count / 1e12:.2f}" for count in (tower, language, tower + language)]
        share = f"{(tower + language) / whole:.0%}"
        rows.append([f"`{parse_view(view).name}`", str(tokens), *numbers, share])
    return rows
