"""What `vovnet bench_gpu` measures: a configuration's model with random weights, and photos.

Nothing is downloaded: the sizes are those of the model's config.json or the published ones, and the
tokenizer is the packaged one.
"""

import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vovnet.config import Settings, merge, validate
from vovnet.core.files import read_json, write_json, write_text
from vovnet.core.layout import Layout
from vovnet.data.prepare import prepare
from vovnet.model.architectures import model_config

TINY = Path(__file__).resolve().parents[2] / "assets" / "tiny-qwen3-vl"

PHOTO_SIZES = (
    (1024, 768), (1024, 683), (768, 1024), (640, 480), (1024, 1024), (1024, 576), (683, 1024)
)  # fmt: skip
"""Width and height of one photo after another."""

WORDS = ["what", "name", "brand", "red", "bottle", "beside", "small", "yellow", "sign", "street"]

QUESTION_WORDS = 9
NEW_TOKENS = 6


def bench_settings(settings: Settings, folder: Path, world: int) -> Settings:
    """The configured model, budgets and precision, on photos below `folder`."""
    per_device = settings.training.batch_size // settings.training.num_processes
    parts = {"train": "TextVQA_0.5.1_train.json", "val": "TextVQA_0.5.1_val.json"}
    photos = {
        "format": "textvqa",
        "root": str(folder / "raw"),
        "files": parts,
        "image_root": "train_images",
    }
    refs = {part: {"dataset": "photos", "split": part} for part in parts}
    training = {
        "num_processes": world,
        "batch_size": per_device * world,
        "stage1_epochs": 1.0,
        "stage2_epochs": 1.0,
        "calibration_samples": 0,
        "save_every": 1_000_000,
        "num_workers": min(settings.training.num_workers, os.cpu_count() or 1),
    }
    value = merge(
        settings.model_dump(),
        {
            "results_dir": str(folder / "results"),
            "standalone": True,
            "model": {
                "base_model_name": str(folder / "model"),
                "revision": None,
                "random_weights": True,
            },
            "training": training,
            "eval": {
                "max_new_tokens": NEW_TOKENS,
                "num_workers": min(settings.eval.num_workers, os.cpu_count() or 1),
            },
        },
    )
    data = settings.data.model_dump() | {
        "datasets": {"photos": photos},
        "train": [refs["train"]],
        "router_fit": [refs["train"] | {"max_samples": per_device}],
        "eval_sets": {"photos": refs["val"]},
        "leakage": {},
        "router_fit_held_out": False,
    }
    emptied: dict[str, Any] = {key: {} for key in ("experiments", "targets", "plan", "report")}
    value |= emptied | {"data": data, "runs": {"vovnet": {}}}
    return validate(value, "bench_gpu")


def write_model(settings: Settings, folder: Path) -> None:
    """A folder with the model's config.json beside the packaged tokenizer, and no weights.

    The packaged processor cuts images into the model's patches.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in TINY.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, folder / path.name)
    tiny = read_json(TINY / "config.json")
    tokens = {key: value for key, value in tiny.items() if key.endswith("_token_id")}
    config = {key: value for key, value in model_config(settings.model).items() if "_id" not in key}
    write_json(folder / "config.json", {**_without_ids(config), **tokens})
    processor = read_json(TINY / "preprocessor_config.json")
    vision = config["vision_config"]
    sizes = {"patch_size": vision["patch_size"], "merge_size": vision["spatial_merge_size"]}
    write_json(folder / "preprocessor_config.json", processor | sizes)


def _without_ids(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without the numbers of special tokens, which are those of another tokenizer."""
    return {
        key: _without_ids(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if not key.endswith("_token_id")
    }


def write_photos(settings: Settings, layout: Layout, counts: Mapping[str, int]) -> None:
    """Questions as TextVQA is distributed, with JPEG files of usual sizes, prepared."""
    root = Path(settings.data.datasets["photos"].root)
    (root / "train_images").mkdir(parents=True, exist_ok=True)
    for offset, (part, count) in enumerate(counts.items()):
        write = partial(_question, root, part, offset * 1_000_000)
        with ThreadPoolExecutor() as workers:  # a process of CUDA's must not be forked
            rows = list(workers.map(write, range(count)))
        text = json.dumps({"dataset_type": part, "data": rows})
        write_text(root / f"TextVQA_0.5.1_{part}.json", text)
        prepare(settings, "photos", part, layout)


def _question(root: Path, part: str, first_id: int, index: int) -> dict[str, Any]:
    rng = np.random.default_rng((first_id, index))
    width, height = PHOTO_SIZES[index % len(PHOTO_SIZES)]
    name = f"{part}{index:05d}"
    _photo(rng, width, height).save(root / "train_images" / f"{name}.jpg", quality=80)
    answers = [str(rng.choice(WORDS)) for _ in range(10)]
    return {
        "question": " ".join(rng.choice(WORDS, QUESTION_WORDS)) + "?",
        "question_id": first_id + index,
        "image_id": name,
        "image_width": width,
        "image_height": height,
        "answers": answers,
        "set_name": part,
    }


def _photo(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Soft colours under fine noise, with some writing: a file as large as a photo's."""
    coarse: NDArray[np.uint8] = rng.integers(0, 255, (height // 48, width // 48, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noise = rng.integers(-6, 7, soft.shape, dtype=np.int16)
    image = Image.fromarray((soft.astype(np.int16) + noise).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        place = (int(rng.integers(width)), int(rng.integers(height)))
        draw.text(place, " ".join(rng.choice(WORDS, 2)), fill=(255, 255, 255))
    return image
