"""`vovnet train`: one stage of one run and seed, on one process or several."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings

HELP = """train one stage of one run and seed; a killed call continues at the exact step.
On several devices start it by `accelerate launch --num_processes N -m vovnet train ...`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--run", help="a key of runs; the first one if left out")
    parser.add_argument(
        "--seed", type=int, help="of order, noise and head; training.seed if left out"
    )
    parser.add_argument(
        "--stage", type=int, choices=(1, 2), help="both, one after the other, if left out"
    )
    parser.add_argument(
        "--in_place",
        action="store_true",
        help="train in the run's own folder, as the DAG does, and set aside what another recipe"
        " made there; else another recipe gets a folder of its own beside it",
    )


def run(args: argparse.Namespace) -> None:
    from accelerate import PartialState

    from vovnet.core.progress import progress
    from vovnet.pipeline.trained_model import TrainedModel
    from vovnet.training.stage import train_stage

    settings = load_settings(args)
    layout = settings.layout
    name = args.run or next(iter(settings.runs))
    seed = settings.training.seed if args.seed is None else args.seed
    trained = TrainedModel(settings, layout, name, seed)
    for stage in (args.stage,) if args.stage else (1, 2):
        model = trained.stage1_model if stage == 1 else trained
        with progress(f"training stage {stage}") as on_step:
            folder = train_stage(model, stage, on_step, beside=not args.in_place)
        if PartialState().is_main_process:
            print(folder)
    PartialState().destroy_process_group()
