"""Pretrain the tiny model on the synthetic world and export it in the transformers layout."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from vovnet.commands.common import add_config_arguments, load_settings

HELP = "make the tiny base model: random weights, then the world's skills, then an export"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--num_samples", type=int, required=True, help="questions to train on")
    parser.add_argument(
        "--start_from", type=Path, help="a tiny model to go on with; random weights if left out"
    )
    parser.add_argument("--work_dir", type=Path, required=True, help="checkpoints and log")
    parser.add_argument("--output_dir", type=Path, required=True, help="where the model is written")


def run(args: argparse.Namespace) -> None:
    import torch

    from vovnet.config import merge, validate
    from vovnet.data.stream import WorldStream
    from vovnet.progress import progress
    from vovnet.training.loop import Trainer
    from vovnet.vlm.tiny import write_tiny_model

    settings = load_settings(args)
    seed = settings.training.seed
    start = args.start_from
    if start is None:
        start = args.work_dir / "blank"
        write_tiny_model(start, seed)
    settings = validate(
        merge(settings.model_dump(), {"model": {"base_model_name": str(start)}}), "pretrain"
    )
    stream = WorldStream(seed, args.num_samples)
    trainer = Trainer(settings, 1, args.work_dir, stream, stream.load_images)
    with progress("pretraining") as on_step:
        trainer.run(on_step)
    if trainer.accelerator.is_main_process:
        model = trainer.model.vlm.model.to("cpu", torch.float16)
        shutil.copytree(start, args.output_dir, dirs_exist_ok=True)
        model.save_pretrained(args.output_dir)
