"""What a suite costs: the work of its stages, at which throughput, in GPU-hours and money."""

from collections.abc import Sequence
from typing import Any

from vovnet.commands.plan.tasks import Suite, Task
from vovnet.model.throughput import PACKAGED

STAGES = (
    *("prepare", "train_stage1", "train_stage2", "observe", "further_views", "live", "light"),
)
"""In the order in which they are shown, after those that are not listed."""

SUBSET = "mvp"
"""The list under `targets` whose first seed alone is priced as well."""

Row = dict[str, Any]


def stage_rows(suite: Suite) -> list[Row]:
    """Jobs, work, throughput and GPU-hours of each stage, and its longest job."""
    stages: dict[str, list[Task]] = {}
    for task in suite.tasks:
        stages.setdefault(task.stage, []).append(task)
    order = sorted(stages, key=lambda name: STAGES.index(name) if name in STAGES else -1)
    return [_stage_row(name, stages[name], suite) for name in order]


def _stage_row(stage: str, tasks: Sequence[Task], suite: Suite) -> Row:
    sources = [task.known_from for task in tasks]
    estimates = [task.estimate for task in tasks]
    return {
        "stage": stage,
        "jobs": len(tasks),
        "measured": sources.count("measured"),
        "at_limit": sources.count("limit"),
        "samples": round(sum(item.samples for item in estimates)),
        "tflop": sum(item.tflop for item in estimates),
        "throughput": ", ".join(dict.fromkeys(item.rate for item in estimates if item.rate)),
        "start_gpu_hours": sum(task.gpus * task.estimate.start_s for task in tasks) / 3600,
        **_cost(tasks, suite),
        "hours_per_job": max(task.duration_s for task in tasks) / 3600,
    }


def _cost(tasks: Sequence[Task], suite: Suite) -> Row:
    hours, price = sum(task.gpu_hours for task in tasks), suite.settings.plan.price_per_gpu_hour
    return {"gpu_hours": hours} | ({} if price is None else {"cost": hours * price})


def subset_rows(suite: Suite, seed: int) -> list[Row]:
    """What the smallest suite costs; where it trains, also what is left without that."""
    untrained = [task for task in suite.tasks if not task.stage.startswith("train_")]
    named = {f"{SUBSET}, seed {seed}": suite.tasks}
    if len(untrained) < len(suite.tasks):
        named["the same without training"] = untrained
    return [
        {"subset": name, "jobs": len(tasks), **_cost(tasks, suite)} for name, tasks in named.items()
    ]


def headline(suite: Suite) -> str:
    """Number of jobs, GPU-hours and, with a price, money."""
    cost = _cost(suite.tasks, suite)
    words = [f"{len(suite.tasks)} jobs", f"{cost['gpu_hours']:,.1f} GPU-hours"]
    return ", ".join([*words, *([f"cost {cost['cost']:,.2f}"] if "cost" in cost else [])])


def basis(suite: Suite) -> list[str]:
    """What the estimates rest on, a line each."""
    found, plan = suite.throughput, suite.settings.plan
    file = f"the package's {PACKAGED.name}" if suite.source == PACKAGED else str(suite.source)
    origin = f" ({found.source})" if found.source else ""
    lines = [
        f"GPU-hours of estimated jobs: TFLOP / throughput / 3600, and {plan.start_s:g} s on each"
        " GPU of a job before it computes (start_gpu_hours)",
        f"throughput: {found.model} on {found.device}, from {file}{origin}",
    ]
    if suite.assumed:
        width, height = plan.image_size
        lines.append(
            f"not prepared yet: {', '.join(suite.assumed)}; assumed are images of {width} x"
            f" {height}, {plan.prompt_tokens} tokens of a prompt and"
            f" {plan.training_answer_tokens} of a training answer"
        )
    if suite.settings.data.leaves_out and not suite.settings.layout.left_out.exists():
        lines.append("the leakage gate has not run: samples that it will leave out are counted")
    lines += [f"{text}: declared limits stand for its jobs" for text in suite.unknown]
    return lines
