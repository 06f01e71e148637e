"""Schedules of one suite: under this project's scheduler, Snakemake's own, and packed by hand."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vovnet.commands.plan.runs import Simulation, rehearse
from vovnet.commands.plan.tasks import Span, Task, makespan_s
from vovnet.core.errors import VovnetError

OURS, ILP, GREEDY, BY_HAND = "gpu", "ilp", "greedy", "by hand"
NUM_ORDERS = {OURS: 1, ILP: 2, GREEDY: 2}
"""Orders in which ready jobs are offered to a scheduler; Snakemake's own depend on it."""

MANY_TASKS = 2000
"""With more, Snakemake's own schedulers take a minute or many: they are left out."""


@dataclass(frozen=True)
class Schedule:
    """One way to run a suite, tried once or with several orders of its ready jobs."""

    name: str
    runs: list[list[Span]]

    @property
    def spans(self) -> list[Span]:
        """Those of the shortest run."""
        return min(self.runs, key=makespan_s)

    @property
    def shortest_s(self) -> float:
        return min(map(makespan_s, self.runs))

    @property
    def longest_s(self) -> float:
        return max(map(makespan_s, self.runs))


def compare(
    tasks: Sequence[Task], gpus: int, cores: int, rehearsal_s: float | None = None
) -> list[Schedule]:
    """Simulate the suite on `gpus` devices; raises VovnetError where a job asks for more.

    With `rehearsal_s` Snakemake runs jobs that sleep, so fast that the lower bound takes so many
    seconds. The packing by hand is computed in either case.
    """
    most = max(tasks, key=lambda task: task.gpus)
    if most.gpus > gpus:
        raise VovnetError(f"{most.name}: asks for {most.gpus} GPUs, but there are {gpus}")
    orders = NUM_ORDERS if len(tasks) <= MANY_TASKS else {OURS: 1}
    if rehearsal_s is None:
        runs = [
            [Simulation(tasks, name, gpus, cores, order).run() for order in range(num_orders)]
            for name, num_orders in orders.items()
        ]
    else:
        runs = [[spans] for spans in rehearse(tasks, list(orders), gpus, cores, rehearsal_s)]
    schedules = [Schedule(name, tried) for name, tried in zip(orders, runs, strict=True)]
    return [*schedules, Schedule(BY_HAND, [pack_by_hand(tasks, gpus)])]


def schedule_rows(schedules: Sequence[Schedule], bound_s: float) -> list[dict[str, object]]:
    """The shortest and longest run of each schedule, in hours and as multiples of the bound."""
    return [
        {
            "scheduler": item.name,
            "makespan_hours": item.shortest_s / 3600,
            "worst_makespan_hours": item.longest_s / 3600,
            "times_lower_bound": item.shortest_s / bound_s,
            "worst_times_lower_bound": item.longest_s / bound_s,
        }
        for item in schedules
    ]


# ---- packed by hand --------------------------------------------------------------------


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
            devices = everything[: task.gpus]
            if task.gpus == 1 and task.unit in units:
                devices = (units.index(task.unit) % gpus,)
            earliest_s = max((free_s[device] for device in devices), default=0.0)
            end_s = place(task, earliest_s, devices)
            free_s.update(dict.fromkeys(devices, end_s))
        clock_s = max(free_s.values(), default=clock_s)
    return spans


def _packs(tasks: Sequence[Task]) -> list[list[Task]]:
    """The tasks in an order in which they can be typed, cut before each training."""
    packs: list[list[Task]] = [[]]
    placed: set[str] = set()
    left = {task.name: task for task in tasks}

    def take(wanted: Iterable[Task]) -> bool:
        taken = [task for task in wanted if placed.issuperset(task.needs)]
        for task in taken:
            placed.add(task.name)
            packs[-1].append(task)
            del left[task.name]
        return bool(taken)

    while left:
        while take([task for task in left.values() if not _is_training(task)]):
            pass
        waiting = [task for task in left.values() if _is_training(task)]
        trainings = [task for task in waiting if placed.issuperset(task.needs)]
        if trainings:
            packs.append([])
            # A stage 2 that can be trained goes before another stage 1, since its model is used.
            take([max(trainings, key=lambda task: task.stage)])
        elif left:
            raise VovnetError(f"{next(iter(left))}: needs a job that is not in the plan")
    return packs


def _is_training(task: Task) -> bool:
    return task.gpus > 0 and task.stage.startswith("train")
