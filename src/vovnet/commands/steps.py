"""The steps of the pipeline as commands: `vovnet prepare`, `vovnet train` and so on.

What a command works with is imported when it is called.
"""

import shutil
from argparse import Namespace
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from vovnet.commands import by_hand
from vovnet.commands.checkpoints import check_prepared
from vovnet.commands.common import (
    Command,
    Flag,
    command,
    configured,
    folder,
    into_project,
    load_settings,
    shard_argument,
)
from vovnet.config import Settings, check_trained_weights
from vovnet.core.errors import ConfigError
from vovnet.core.layout import ROUTER_FIT, Layout
from vovnet.core.progress import progress
from vovnet.pipeline.catalogue import STEPS

OBSERVED = (
    Flag("--run", required=True, help="a key of runs"),
    Flag("--seed", type=int, required=True, help="the seed it was trained with"),
    Flag("--dataset", required=True, help="a key of data.eval_sets, or router_fit"),
    Flag("--views", nargs="+", default=(), metavar="VIEW", help="further views, not the actions"),
)


@configured(
    "render a synthetic dataset as the raw files that its original has",
    Flag("--dataset", required=True, help="a key of data.datasets, source synthetic"),
)
def synthesize(settings: Settings, args: Namespace) -> None:
    from vovnet.data.world.render import synthesize

    for split, count in synthesize(settings, args.dataset).items():
        print(f"{args.dataset}/{split}: {count} questions")


@configured(
    "download a dataset of the hub (source: hub) at its revision and check its files",
    Flag("--dataset", required=True, help="a key of data.datasets, source hub"),
)
def fetch(settings: Settings, args: Namespace) -> None:
    from vovnet.data.hub import fetch

    facts = fetch(settings, args.dataset)
    files = facts["files"].values()
    size_mb = sum(file["size"] for file in files) / 1e6
    source = f"{facts['repo_id']}@{facts['commit']}"
    print(f"{args.dataset}: {source}, {len(files)} files, {size_mb:.1f} MB")


@configured(
    "turn one split of a raw dataset into unified samples",
    Flag("--dataset", required=True, help="a key of data.datasets"),
    Flag("--split", required=True, help="a key of the dataset's files"),
)
def prepare(settings: Settings, args: Namespace) -> None:
    from vovnet.data.prepare import prepare

    layout = settings.layout
    counts = prepare(settings, args.dataset, args.split, layout)
    written = f"{counts['num_samples']} samples, {counts['num_images']} images"
    print(f"{layout.samples(args.dataset, args.split)}: {written}")
    for reason, count in counts["skipped"].items():
        print(f"skipped: {count} ({reason})")


@configured("compare the training mix with the evaluation sets; exit 2 on a hit")
def leakage(settings: Settings, args: Namespace) -> None:
    from vovnet.data.leakage import KINDS, check_leakage

    report = check_leakage(settings, settings.layout)
    for name, compared in report["sets"].items():
        counts = ", ".join(f"{kind} {compared[kind]['count']}" for kind in KINDS)
        print(f"{name}: {compared['num_samples']} samples, shared with training: {counts}")
    for mix, by_set in report.get("left_out", {}).items():
        for name, kinds in by_set.items():
            listed = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
            print(f"left out of {mix} for what it shares with {name}: {listed}")
    print(f"report: {settings.layout.leakage_report}")


@configured(
    "make the tiny base model: random weights, then the world's skills, then an export",
    Flag("--work_dir", type=folder, required=True, help="checkpoints and logs of the phases"),
    Flag("--output_dir", type=folder, required=True, help="where the model is written"),
)
def pretrain(settings: Settings, args: Namespace) -> None:
    from vovnet.training.pretrain import pretrain

    _check_precision(settings)
    with progress("pretraining") as on_step:
        model = pretrain(settings, args.work_dir, on_step)
    shutil.copytree(model, args.output_dir, dirs_exist_ok=True)
    print(args.output_dir)


def _check_precision(settings: Settings) -> None:
    """Refuse training in fp16 where it would fail at its first step, or compute in float32."""
    import torch

    check_trained_weights(settings.model)
    if settings.training.mixed_precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError(
            "training.mixed_precision: expected no or bf16 where there is no GPU, which alone"
            " computes in fp16, got fp16"
        )


@dataclass(frozen=True)
class StagesLayout(Layout):
    """A layout whose stages of training lie in a folder of the user's."""

    stages: Path

    def stage(self, run: str, seed: int | str, stage: int) -> Path:
        return self.stages / f"stage{stage}"


@configured(
    "train one stage of one run and seed; a killed call continues at the exact step. On several"
    " devices start it by `accelerate launch --num_processes N -m vovnet train ...`.",
    Flag("--run", help="a key of runs; the first one if left out"),
    Flag("--seed", type=int, help="of order, noise and head; training.seed if left out"),
    Flag("--stage", type=int, choices=(1, 2), help="both, one after the other, if left out"),
    Flag(
        "--in_place",
        action="store_true",
        help="train in the run's own folder, as the DAG does, and set aside what another recipe"
        " made there; else another recipe gets a folder of its own beside it",
    ),
    Flag(
        "--output_dir",
        type=folder,
        help="where stage1 and stage2 go, instead of the run's own folder in the results",
    ),
)
def train(settings: Settings, args: Namespace) -> None:
    from accelerate import PartialState

    from vovnet.commands.tracking import check_tracker, tracked
    from vovnet.pipeline.keys import write_step_config
    from vovnet.pipeline.trained_model import TrainedModel
    from vovnet.training.stage import train_stage

    name = args.run or next(iter(settings.runs))
    seed = settings.training.seed if args.seed is None else args.seed
    layout = settings.layout
    if args.output_dir is not None:
        layout = StagesLayout(layout.root, args.output_dir)
    trained = TrainedModel(settings, layout, name, seed)
    check_prepared(settings, layout, trained.settings.data.train)
    check_tracker(trained.settings.training.tracker)
    _check_precision(trained.settings)
    last = trained.last_stage
    if (args.stage or 1) > last:
        raise ConfigError(f"runs.{name}: there is no stage {args.stage or 1} of it to train")
    beside = layout if args.output_dir is None else Layout(args.output_dir)
    for stage in (args.stage,) if args.stage else range(1, last + 1):
        model = trained.stage1_model if stage == 1 else trained
        with (
            progress(f"training stage {stage}") as show,
            tracked(model, stage, beside.root / "tracking", show) as on_step,
        ):
            folder = train_stage(model, stage, on_step, beside=not args.in_place)
        if PartialState().is_main_process:
            write_step_config(settings, beside, "train", run=model.run, seed=seed, stage=stage)
            print(folder)
    PartialState().destroy_process_group()


@configured(
    "run a trained model on every view of a set; a killed call continues where it was",
    *OBSERVED,
    Flag("--shard", type=shard_argument, default=(0, 1), metavar="I/N", help="part I of N, from 0"),
)
def observe(settings: Settings, args: Namespace) -> None:
    from vovnet.inference.observe import observe_shard
    from vovnet.pipeline.trained_model import TrainedModel

    trained = TrainedModel(settings, settings.layout, args.run, args.seed)
    chosen = settings.data.eval_sets.get(args.dataset)
    fitted = settings.data.router_fit if args.dataset == ROUTER_FIT else []
    check_prepared(settings, settings.layout, fitted if chosen is None else [chosen])
    shard, num_shards = args.shard
    with progress("observing blocks") as on_block:
        observe_shard(trained, args.dataset, shard, num_shards, args.views, on_block)


@configured("join the eval.num_shards shards of an observation", *OBSERVED)
def gather(settings: Settings, args: Namespace) -> None:
    from vovnet.inference.shards import gather
    from vovnet.pipeline.trained_model import TrainedModel

    trained = TrainedModel(settings, settings.layout, args.run, args.seed)
    gather(trained, args.dataset, args.views)


@configured("read the logs of another program as observations of a set", *OBSERVED)
def import_logs(settings: Settings, args: Namespace) -> None:
    from vovnet.data.importing import import_set
    from vovnet.pipeline.trained_model import TrainedModel

    trained = TrainedModel(settings, settings.layout, args.run, args.seed)
    if left_out := import_set(trained, args.dataset, args.views):
        print(f"left out: {left_out} answers to questions that are not in set {args.dataset!r}")
    print(trained.observations(args.dataset))


globals()["import"] = import_logs  # the command's name, which a function of Python cannot have


@configured(
    "read the action ratios of another experiment's results and write matched.yaml",
    Flag("--experiment", required=True, help="a key of experiments that has a key 'match'"),
)
def match(settings: Settings, args: Namespace) -> None:
    from vovnet.evaluation.match import write_matched
    from vovnet.evaluation.matched import matched_path

    write_matched(settings, settings.layout, args.experiment)
    print(matched_path(settings.layout, args.experiment))


@configured(
    "score what was observed or answered live: results.csv, summary.json, samples.parquet",
    Flag("--experiment", required=True, help="a key of experiments"),
)
def evaluate(settings: Settings, args: Namespace) -> None:
    from vovnet.evaluation.experiment import evaluate_experiment

    evaluate_experiment(settings, settings.layout, args.experiment)
    print(settings.layout.eval(args.experiment) / "results.csv")


@configured(
    "run an experiment of mode live, sample by sample; `vovnet evaluate` scores the answers",
    Flag("--experiment", required=True, help="a key of experiments, mode: live"),
)
def live(settings: Settings, args: Namespace) -> None:
    from vovnet.inference.live import live_experiment

    with progress("answering") as on_sample:
        live_experiment(settings, settings.layout, args.experiment, on_sample)


@command(
    "accuracy, entropy, cost and false skips per action and per field of the dataset",
    Flag("--experiment", help="a key of experiments that is evaluated already"),
    *by_hand.checkpoint_flags(required=False),
)
def error_slices(args: Namespace) -> None:
    from vovnet.commands.printed import print_numbers
    from vovnet.evaluation.error_slices import write_error_slices

    by_checkpoint = (args.checkpoint, args.output_dir)
    if args.experiment is not None and by_checkpoint == (None, None):
        into_project(args)
        settings = load_settings(args)
        layout, name = settings.layout, args.experiment
    elif args.experiment is None and None not in by_checkpoint:
        settings, layout = by_hand.evaluate_checkpoint(args, {}, {})
        name = by_hand.EXPERIMENT
        print_numbers(settings, args.output_dir / "results.csv")
        if settings.eval.profile:  # a live run stores no observations
            by_hand.observe_missing(settings, layout)
    else:
        raise ConfigError("error_slices: expected --experiment, or --checkpoint and --output_dir")
    for path in write_error_slices(settings, layout, name):
        print(path)


@configured("measure how much time and how many model passes this design saves, side by side")
def bench(settings: Settings, args: Namespace) -> None:
    from vovnet.commands.bench import run_bench
    from vovnet.core.files import read_text

    print(read_text(run_bench(settings)))


# ---- reports ---------------------------------------------------------------------------


@configured("check the results; fails if one of them cannot be right")
def sanity(settings: Settings, args: Namespace) -> None:
    """Print the checks that do not pass; a broken invariant is an error."""
    from vovnet.report.checks import write_sanity

    checks = write_sanity(settings, settings.layout)
    for check in checks:
        if not check.passed:
            word = "not run" if check.passed is None else "expectation not met"
            numbers = check.numbers.removeprefix("not run: ")
            print(f"{word}: {check.block} {check.name}: {numbers}")
    print(f"{sum(check.passed is True for check in checks)} of {len(checks)} checks pass")


def _writing(step: str, writer: str) -> Command:
    """A command that calls `writer` of the step's module, which returns the paths it wrote."""

    def run(settings: Settings, args: Namespace) -> None:
        write = getattr(import_module(STEPS[step].computed_by), writer)
        for path in write(settings, settings.layout):
            print(path)

    return configured(STEPS[step].help)(run)


hull_metrics = _writing("hull_metrics", "hull_metrics")
tables = _writing("tables", "write_tables")
figures = _writing("figures", "write_figures")
reliability = _writing("reliability", "write_reliability")
ablation_table = _writing("ablation_table", "write_ablations")
page = _writing("page", "write_page")
paper_pdf = _writing("paper_pdf", "write_document")
