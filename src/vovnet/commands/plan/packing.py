"""The schedule of a person who types the commands, as the specification packs them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vovnet.commands.plan.tasks import Span, Task
from vovnet.core.errors import VovnetError


def pack_by_hand(tasks: Sequence[Task], gpus: int) -> list[Span]:
    """The specification's packing: a training on all GPUs, then a pack of evaluations, and so on.

    Within a pack the k-th command (`unit`, with all its shards) is typed with
    CUDA_VISIBLE_DEVICES=k modulo `gpus`. The next training is typed when the pack has ended.
    A job without GPUs starts as soon as its inputs exist, as if nobody had to type it.
    """
    ends: dict[str, float] = {}
    spans: list[Span] = []

    def place(task: Task, earliest_s: float, devices: tuple[int, ...]) -> float:
        begin_s = max([earliest_s, *(ends[name] for name in task.needs)])
        ends[task.name] = begin_s + task.duration_s
        spans.append(Span(task, begin_s, ends[task.name], devices))
        return ends[task.name]

    everything = tuple(range(gpus))
    clock_s = 0.0
    for pack in _packs(tasks):
        free_s = dict.fromkeys(everything, clock_s)
        units = list(dict.fromkeys(task.unit for task in pack if 0 < task.gpus < gpus))
        for task in pack:
            if task.gpus == 0:
                place(task, 0.0, ())
                continue
            if task.unit in units and task.gpus == 1:
                devices: tuple[int, ...] = (units.index(task.unit) % gpus,)
            else:
                devices = everything[: task.gpus]
            end_s = place(task, max(free_s[device] for device in devices), devices)
            free_s.update(dict.fromkeys(devices, end_s))
        clock_s = max(free_s.values(), default=clock_s)
    return spans


def _packs(tasks: Sequence[Task]) -> list[list[Task]]:
    """The tasks in an order in which they can be typed, cut before each training."""
    packs: list[list[Task]] = [[]]
    placed: set[str] = set()
    left = list(tasks)

    def take(wanted: Iterable[Task]) -> bool:
        taken = [task for task in wanted if placed.issuperset(task.needs)]
        for task in taken:
            placed.add(task.name)
            packs[-1].append(task)
            left.remove(task)
        return bool(taken)

    while left:
        while take([task for task in left if not is_training(task)]):
            pass
        trainings = [task for task in left if is_training(task) and placed.issuperset(task.needs)]
        if trainings:
            packs.append([])
            # A stage 2 that can be trained goes before another stage 1, since its model is used.
            take([max(trainings, key=lambda task: task.stage)])
        elif left:
            raise VovnetError(f"{left[0].name}: needs a job that is not in the plan")
    return packs


def is_training(task: Task) -> bool:
    return task.gpus > 0 and task.stage.startswith("train")
