"""`vovnet export`: answers, scores and costs in the formats of other programs."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from vovnet.commands.common import Flag, configured, folder

if TYPE_CHECKING:
    from vovnet.config import Settings

FORMS = ("lmms_eval", "vlmevalkit", "matrix")


@configured(
    "write what a run answered, or what experiments did, as samples files of lmms-eval, results of"
    " VLMEvalKit, or a matrix of scores and costs as RouterBench's",
    Flag("--form", choices=FORMS, required=True, help="of the files; `matrix` is RouterBench's"),
    Flag("--run", help="a key of runs; the first one if left out"),
    Flag("--seed", type=int, help="of the run; its first one if left out"),
    Flag(
        "--experiments",
        nargs="+",
        default=(),
        metavar="E",
        help="finished experiments of the run, in place of its views",
    ),
    Flag("--output_dir", type=folder, required=True, help="where the files and their card go"),
)
def export(settings: Settings, args: Namespace) -> None:
    from vovnet.config.experiments import experiment_seeds, run_seeds
    from vovnet.core.errors import ConfigError
    from vovnet.evaluation.exporting import export

    run = args.run or next(iter(settings.runs))
    if run not in settings.runs:
        raise ConfigError(f"--run: expected one of {list(settings.runs)}, got {run!r}")
    for name in args.experiments:
        if name not in settings.experiments or settings.experiments[name].run != run:
            names = [key for key, item in settings.experiments.items() if item.run == run]
            raise ConfigError(f"--experiments: expected some of {names}, got {name!r}")
    seed = run_seeds(settings, run)[0] if args.seed is None else args.seed
    for name in args.experiments:
        if seed not in (seeds := experiment_seeds(settings, name)):
            raise ConfigError(f"--seed: expected one of {seeds}, those of {name!r}, got {seed}")
    layout, place = settings.layout, args.output_dir
    for path in export(settings, layout, place, args.form, run, seed, args.experiments):
        print(path)
