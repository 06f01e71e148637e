"""`vovnet pretrain`: the tiny base model, phase after phase, in the transformers layout."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from vovnet.commands.common import add_config_arguments, load_settings

HELP = "make the tiny base model: random weights, then the world's skills, then an export"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--work_dir", type=Path, required=True, help="checkpoints and logs of the phases"
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="where the model is written")


def run(args: argparse.Namespace) -> None:
    from vovnet.core.progress import progress
    from vovnet.training.pretrain import pretrain

    with progress("pretraining") as on_step:
        model = pretrain(load_settings(args), args.work_dir, on_step)
    shutil.copytree(model, args.output_dir, dirs_exist_ok=True)
    print(args.output_dir)
