"""`vovnet plan`: the jobs and GPU-hours of a suite and its possible schedules, before it runs."""

import argparse
import math
from pathlib import Path

from vovnet.commands.common import Flag, command, count, folder
from vovnet.config.layers import read_layers
from vovnet.core.errors import VovnetError, one_line

CORES_PER_GPU = 16
MOST_DEVICES = 100_000


@command(
    "count the jobs and GPU-hours of a target, simulate its run on N GPUs under each scheduler and"
    " as commands packed by hand, and draw the schedules; call it where the Snakefile lies",
    Flag("targets", nargs="*", default=["all"], help="of the Snakefile (all if left out)"),
    Flag(
        "--configfile",
        action="extend",
        nargs="+",
        default=[],
        type=Path,
        metavar="FILE",
        help="as for snakemake; name several to layer them",
    ),
    Flag("--gpus", type=count, help="devices to plan for (as many as are here)"),
    Flag("--cores", type=count, help=f"CPU cores ({CORES_PER_GPU} per GPU)"),
    Flag("--all_jobs", action="store_true", help="count finished jobs as well"),
    Flag(
        "--rehearse",
        type=float,
        metavar="SECONDS",
        help="also run Snakemake itself under each scheduler, with jobs that only sleep, so fast"
        " that the lower bound takes SECONDS",
    ),
    Flag("--output", type=folder, default="results/plan", metavar="DIR", help="for tables, charts"),
)
def plan(args: argparse.Namespace) -> None:
    import pandas as pd
    from snakemake.exceptions import ApiError, RuleException, WorkflowError

    from gpu_leases.devices import visible_devices
    from vovnet.commands.plan.costs import SUBSET, basis, headline, stage_rows, subset_rows
    from vovnet.commands.plan.gantt import draw_gantt
    from vovnet.commands.plan.schedules import Schedule, compare, schedule_rows
    from vovnet.commands.plan.tasks import load_suite, lower_bound_s
    from vovnet.core.files import write_text
    from vovnet.core.shown import csv_text

    gpus = len(visible_devices()) if args.gpus is None else args.gpus
    cores = args.cores or CORES_PER_GPU * max(gpus, 1)
    if max(gpus, cores) > MOST_DEVICES:
        raise VovnetError(f"--gpus, --cores: expected at most {MOST_DEVICES:,}")
    read_layers(args.configfile)  # Snakemake would not say which one cannot be read
    if args.rehearse is not None and not 0 < args.rehearse < math.inf:
        raise VovnetError(f"--rehearse {args.rehearse}: must be a number of seconds above 0")
    try:
        suite = load_suite(args.targets, args.configfile, args.all_jobs)
        settings, tasks = suite.settings, suite.tasks
        seed = settings.seeds[0]
        smallest = None
        if SUBSET in settings.targets and any(task.gpus for task in tasks):
            one_seed = {"seeds": [seed]}
            smallest = load_suite([SUBSET], args.configfile, args.all_jobs, one_seed)
    except (ApiError, RuleException, WorkflowError, SystemExit) as error:
        raise VovnetError(one_line(error).removeprefix("vovnet: error: ")) from None
    if not tasks:
        print("nothing to be done")
        return
    bound_s = lower_bound_s(tasks, gpus)

    def show(title: str, rows: list[dict[str, object]], name: str) -> None:
        table, path = pd.DataFrame(rows), args.output / f"{name}.csv"
        print(f"{title}\n\n{table.to_string(index=False, float_format=_readable)}\n")
        write_text(path, csv_text(table))
        print(path)

    def show_schedules(title: str, schedules: list[Schedule], prefix: str) -> None:
        show(title, schedule_rows(schedules, bound_s), f"{prefix}schedules")
        for path in draw_gantt(schedules, gpus, bound_s, args.output, f"{prefix}gantt"):
            print(path)

    schedules = compare(tasks, gpus, cores)
    show(headline(suite), stage_rows(suite), "stages")
    print("", *basis(suite), sep="\n")
    if smallest is not None and smallest.tasks:
        show("\nthe cheapest useful part:", subset_rows(smallest, seed), "subset")
    bound = f"on {gpus} GPUs and {cores} cores, lower bound {bound_s / 3600:,.2f} hours"
    show_schedules(f"\n{bound}:", schedules, "")
    if args.rehearse is not None:
        title = f"\nrehearsed in {args.rehearse / bound_s:.2g} of the time, {bound}:"
        show_schedules(title, compare(tasks, gpus, cores, args.rehearse), "rehearsed_")


def _readable(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.3f}"
