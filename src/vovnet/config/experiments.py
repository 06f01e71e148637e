"""What the experiments of a configuration are about: seeds, sets, reports, and shared stages."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from vovnet.config.data import SplitRef
from vovnet.config.schema import PolicySettings
from vovnet.config.settings import (
    BASE_SEED,
    Settings,
    is_base,
    last_stage,
    policy_points,
    run_settings,
)
from vovnet.config.stanzas import Experiment
from vovnet.core.errors import ConfigError
from vovnet.core.layout import PAPER, SUITE


@dataclass(frozen=True)
class ResolvedExperiment:
    """An experiment with all that follows from its stanza.

    `given` is the configuration as it was read, `settings` has the overrides of the experiment's
    run applied. `points` are its policies, one per point of the sweep.
    """

    name: str
    stanza: Experiment
    given: Settings
    settings: Settings
    points: list[PolicySettings]
    seeds: list[int]
    sets: list[str]

    @classmethod
    def of(cls, settings: Settings, name: str) -> Self:
        """The experiment of a name; an unknown name is an error that lists the known ones."""
        stanza = settings.experiments.get(name)
        if stanza is None:
            known = sorted(settings.experiments)
            raise ConfigError(f"experiments: no experiment named {name!r}, expected one of {known}")
        resolved = run_settings(settings, stanza.run)
        points = policy_points(resolved, name)
        seeds, sets = experiment_seeds(settings, name), experiment_sets(settings, name)
        return cls(name, stanza, settings, resolved, points, seeds, sets)

    @property
    def run(self) -> str:
        return self.stanza.run


def experiment_seeds(settings: Settings, name: str) -> list[int]:
    """The seeds an experiment evaluates."""
    seeds, run = settings.experiments[name].seeds, settings.experiments[name].run
    return run_seeds(settings, run) if seeds is None else seeds


def run_seeds(settings: Settings, run: str) -> list[int]:
    """The seeds of a run: those of the suite, or the only one of a base run."""
    return [BASE_SEED] if is_base(settings, run) else settings.seeds


def trained_runs(settings: Settings) -> list[str]:
    """The runs that are trained."""
    return [run for run in settings.runs if not is_base(settings, run)]


def experiment_sets(settings: Settings, name: str) -> list[str]:
    """The evaluation sets of an experiment."""
    names = settings.experiments[name].datasets
    return list(settings.data.eval_sets) if names is None else names


def target_experiments(settings: Settings, target: str) -> list[str]:
    """The experiments of a target: those that it lists, and those that join it."""
    joined = [name for name, item in settings.experiments.items() if target in item.targets]
    return list(dict.fromkeys([*settings.targets[target], *joined]))


def report_experiments(settings: Settings, report: str = PAPER) -> list[str]:
    """The experiments that a report shows, in their order, with those they are matched to."""
    target = settings.report.target if report == PAPER else report
    if target is None or not settings.targets or report == SUITE:
        return list(settings.experiments)
    return with_sources(settings, target_experiments(settings, target))


def report_names(settings: Settings) -> list[str]:
    """The reports: the paper's, the suite's where the paper does not show everything, further."""
    whole = report_experiments(settings) == list(settings.experiments)
    return [PAPER, *([] if whole else [SUITE]), *settings.report.further]


def ablation_experiments(settings: Settings) -> list[str]:
    """The default, and every other run under its policy: replayed sweeps of VoVNet's lambda.

    What a run overrides is what its recipe is about, and no other policy. The default is the first
    such sweep that another run has, too, or else the first; empty where there is none.
    """
    experiments = settings.experiments
    swept = [
        name
        for name, item in experiments.items()
        if item.mode == "replay" and item.role == "vovnet" and "lambda_cost" in item.sweep
    ]
    policies = {name: policy_points(settings, name)[0].model_dump() for name in swept}
    for default in swept:
        ablations = [
            name
            for name in swept
            if experiments[name].run != experiments[default].run
            and _differing(policies[name], policies[default])
            <= {"lambda_cost", *_overridden(settings, name), *_overridden(settings, default)}
        ]
        if ablations:
            return [default, *ablations]
    return swept[:1]


def _differing(first: dict[str, Any], second: dict[str, Any]) -> set[str]:
    """The keys in which two policies differ, of which some are left out at their default."""
    return {key for key in first | second if first.get(key) != second.get(key)}


def _overridden(settings: Settings, name: str) -> Iterable[str]:
    """The keys of the policy that an experiment's run overrides."""
    overrides: dict[str, Any] = settings.runs[settings.experiments[name].run].get("policy", {})
    return overrides


def fallback_experiments(settings: Settings) -> list[str]:
    """The replayed experiments in which a NO may be overruled, by one fallback throughout."""
    replayed = [name for name, item in settings.experiments.items() if item.mode == "replay"]
    return [name for name in replayed if fallback_of(settings, name) is not None]


def fallback_of(settings: Settings, name: str) -> str | None:
    """The view that overrules a NO at every point of an experiment; None without one."""
    modes = {point.fallback_mode for point in policy_points(settings, name)}
    return modes.pop() if len(modes) == 1 else None


def bench_experiments(settings: Settings) -> list[str]:
    """What the bench evaluates: the replayed experiments of the first one's trained model.

    Without any there is nothing to measure, which is an error.
    """
    replayed = {name: item for name, item in settings.experiments.items() if item.mode == "replay"}
    if not replayed:
        raise ConfigError("experiments: bench needs one of mode: replay, there is none")
    runs = [item.run for item in replayed.values()]
    names = [name for name, item in replayed.items() if item.run == runs[0]]
    kept = [name for name in names if set(with_matched(settings, name)) <= set(names)]
    if not kept:
        raise ConfigError(
            f"experiments: the bench measures run {runs[0]!r}, that of the first experiment of"
            " mode: replay; expected one of this run that is not matched to another run"
        )
    return kept


def train_parts(settings: Settings) -> list[SplitRef]:
    """The parts of every training mix, each once."""
    runs = trained_runs(settings)
    parts = [part for run in runs for part in run_settings(settings, run).data.train]
    return [part for index, part in enumerate(parts) if part not in parts[:index]]


def with_sources(settings: Settings, names: Iterable[str]) -> list[str]:
    """Some experiments and those that they are matched to, in the configuration's order."""
    kept = {other for name in names for other in with_matched(settings, name)}
    return [name for name in settings.experiments if name in kept]


def with_matched(settings: Settings, name: str) -> list[str]:
    """An experiment and those whose action ratios it is matched to."""
    names = [name]
    while (match := settings.experiments[names[-1]].match) is not None:
        names.append(match.experiment)
    return names


def stage1_reads_actions(settings: Settings) -> bool:
    """Whether stage 1 draws its views from the actions; else it shows a view of its own."""
    return settings.training.stage1_baseline_name == "random_policy_matched"


STAGE1_VIEWS = {"no_vision": "no", "always_coarse": "coarse", "always_full": "full"}


def stage1_shares(settings: Settings) -> dict[str, float]:
    """The views in which stage 1 may show an example, and how often each."""
    training, actions = settings.training, settings.actions
    if not stage1_reads_actions(settings):
        return {STAGE1_VIEWS[training.stage1_baseline_name]: 1.0}
    shares = training.stage1_target_ratios or [1 / len(actions)] * len(actions)
    return dict(zip(actions, shares, strict=True))


def stage1_owner(settings: Settings, run: str) -> str:
    """The run whose stage 1 `run` starts from."""
    if is_base(settings, run):
        raise ConfigError(f"runs.{run}: nothing of a run with base: true is trained")
    return stage1_owners(settings)[run]


def stage1_owners(settings: Settings) -> dict[str, str]:
    """The same of every trained run: the first with the same stage-1 settings.

    One that ends with stage 1 has its own.
    """
    owners: dict[str, str] = {}
    first: list[tuple[tuple[Any, ...], str]] = []
    for run in trained_runs(settings):
        owners[run] = run
        if last_stage(settings, run) == 2:
            wanted = _stage1_settings(settings, run)
            owners[run] = next((owner for known, owner in first if known == wanted), run)
            if owners[run] == run:
                first.append((wanted, run))
    return owners


def _stage1_settings(settings: Settings, run: str) -> tuple[Any, ...]:
    """Everything that stage 1 reads; nothing of the policy is among it."""
    value = run_settings(settings, run)
    training = value.training.model_dump()
    return (
        value.actions if stage1_reads_actions(value) else None,
        value.model,
        value.data.model_dump(exclude={"eval_sets", "router_fit"}),
        value.vision_budget,
        {key: training[key] for key in training if not key.startswith(("stage2_", "head_"))},
    )
