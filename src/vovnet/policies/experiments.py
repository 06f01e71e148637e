"""What the policies of an experiment ask for, and whether they fit its configuration."""

from collections.abc import Callable
from functools import partial
from math import isclose

import numpy as np
import pandas as pd

from vovnet.config import NEAR, Match, PolicySettings, Settings, is_imported, last_stage
from vovnet.config.experiments import (
    ResolvedExperiment,
    experiment_seeds,
    experiment_sets,
    fallback_experiments,
    report_experiments,
)
from vovnet.core.errors import ConfigError
from vovnet.core.layout import PAPER
from vovnet.core.records import signal_columns
from vovnet.policies import baseline_names, by_correctness, kind_of, spelled
from vovnet.policies.base import OF_EACH, PolicyInputs, read_options
from vovnet.policies.decide import choices, further_views, setting_columns, shown_views
from vovnet.views.logged import is_logged


def resolve_experiment(settings: Settings, name: str, key: str | None = None) -> ResolvedExperiment:
    """An experiment whose policies are known and complete.

    The first fault is an error that names it below `key`, by default the experiment's own.
    """
    experiment = ResolvedExperiment.of(settings, name)
    try:
        for policy in experiment.points:
            _check(policy, experiment)
        if (match := experiment.stanza.match) is not None:
            _check_source(experiment, match)
    except ConfigError as error:
        raise ConfigError(f"{f'experiments.{name}.' if key is None else key}{error}") from None
    return experiment


def uses_router_fit(settings: Settings, name: str) -> bool:
    """Whether an experiment fits a router on `data.router_fit`."""
    points = ResolvedExperiment.of(settings, name).points
    return any(kind_of(policy).router is not None for policy in points)


def head_experiments(settings: Settings) -> list[str]:
    """The replayed experiments that follow a head which was fitted afterwards."""
    replayed = [name for name, item in settings.experiments.items() if item.mode == "replay"]
    return [name for name in replayed if _follows_head(ResolvedExperiment.of(settings, name))]


def _follows_head(experiment: ResolvedExperiment) -> bool:
    routers = [kind_of(policy).router for policy in experiment.points]
    return any(router is not None and router.knows in OF_EACH for router in routers)


def reliability_experiments(settings: Settings, report: str = PAPER) -> list[str]:
    """What the reliability report tells of: slices, fallbacks and heads.

    The paper's tells of every experiment, that of another report of those that it shows.
    """
    shown = settings.experiments if report == PAPER else report_experiments(settings, report)
    sliced = [name for name, item in settings.experiments.items() if item.error_slices]
    told = {*sliced, *fallback_experiments(settings), *head_experiments(settings)}
    return [name for name in shown if name in told]


def experiment_views(settings: Settings, name: str) -> list[str]:
    """The views beside the actions that an experiment may show."""
    points = ResolvedExperiment.of(settings, name).points
    shown = [view for policy in points for view in further_views(policy, settings.actions)]
    return list(dict.fromkeys(shown))


def needed_views(
    settings: Settings,
    run: str,
    seed: int,
    eval_set: str,
    views_of: Callable[[str], list[str]] | None = None,
) -> list[str]:
    """The views beside the actions that the replayed experiments on a set show of a model.

    Who asks for many models remembers those of an experiment: `views_of`.
    """
    views_of = views_of or partial(experiment_views, settings)
    names = replayed_experiments(settings, run, seed, eval_set)
    return sorted({view for name in names for view in views_of(name)})


def replayed_experiments(settings: Settings, run: str, seed: int, eval_set: str) -> list[str]:
    """The experiments that replay what a model was observed to answer on a set."""
    return [
        name
        for name, item in settings.experiments.items()
        if item.mode == "replay"
        and item.run == run
        and seed in experiment_seeds(settings, name)
        and eval_set in experiment_sets(settings, name)
    ]


def _check(policy: PolicySettings, experiment: ResolvedExperiment) -> None:
    """Refuse a policy that is unknown, lacks a setting, or cannot do what the stanza asks."""
    kind, actions = kind_of(policy), experiment.settings.actions
    if kind.options is not None:
        read_options(policy, kind.options)
    elif policy.options:
        raise ConfigError(f"policy.options.{next(iter(policy.options))}: unknown key")
    shown_views(policy, actions)
    if kind.router is not None and not experiment.settings.data.router_fit:
        raise ConfigError(
            f"{spelled(policy)} is fitted on data.router_fit, which is empty, expected at least one"
            " part"
        )
    if by_correctness(policy) and policy.feature_mode != "hidden":
        raise ConfigError(
            "policy.objective: a head on correctness reads the hidden states alone, expected"
            f" policy.feature_mode 'hidden' beside it, got {policy.feature_mode!r}"
        )
    is_vovnet = kind.reads_scores or by_correctness(policy)
    if is_vovnet and (stage := last_stage(experiment.given, experiment.run)) < 2:
        run = f"{'run' if stage else 'base run'} {experiment.run!r}"
        raise ConfigError(
            "policy.baseline_name: VoVNet is a model that was trained with its head, which the"
            f" {run} was not, expected one of {baseline_names()}"
        )
    if is_imported(experiment.given, experiment.run):
        _check_imported(policy, experiment)
    else:
        _check_shown(policy, experiment)
    if experiment.stanza.compare_cache_reuse:
        _check_reuse(experiment.settings)
    if experiment.stanza.mode == "live":
        check_live(policy)
    if experiment.stanza.match is not None:
        _check_match(policy)
    elif kind.router is None:  # a router is fitted on observations, and lacks no setting
        # A dry run on no samples says what is missing in the policy's own words.
        nothing = pd.DataFrame(columns=list(signal_columns(actions)))
        correct_NA = np.zeros((0, len(actions))) if kind.reads_correctness else None
        kind.first(PolicyInputs(policy, actions, choices(policy, actions), nothing, [], correct_NA))


def _check_imported(policy: PolicySettings, experiment: ResolvedExperiment) -> None:
    """Refuse what a log does not tell: a text pass and its states, and answers that are timed."""
    kind = kind_of(policy)
    if experiment.stanza.mode == "live":
        raise ConfigError(f"mode: run {experiment.run!r} was run elsewhere, expected replay")
    if kind.reads_text_pass(policy) or (kind.router is not None and kind.router.knows == "state"):
        raise ConfigError(
            f"{spelled(policy)} reads a text pass, of which no log of run {experiment.run!r} tells"
        )


def _check_shown(policy: PolicySettings, experiment: ResolvedExperiment) -> None:
    """Refuse views that this project cannot show."""
    actions = experiment.settings.actions
    for view in (*actions, *further_views(policy, actions)):
        if is_logged(view):
            raise ConfigError(
                f"run: the view {view!r} is known from a log alone, expected a run with `imported`,"
                f" got {experiment.run!r}"
            )


def check_live(policy: PolicySettings) -> None:
    """Refuse a policy that cannot run live, sample by sample."""
    kind = kind_of(policy)
    if kind.reads_correctness:
        raise ConfigError(
            f"policy.baseline_name: {policy.baseline_name!r} reads the answers, it cannot run live"
        )
    if kind.check_live is not None:
        kind.check_live(policy)


def _check_reuse(settings: Settings) -> None:
    if settings.data.prompt_order == "image_first":
        raise ConfigError(
            "compare_cache_reuse: with data.prompt_order image_first there is no cache to reuse,"
            " expected false"
        )


def _check_match(policy: PolicySettings) -> None:
    """What is matched are the ratios of a random policy, which then has none of its own."""
    if not kind_of(policy).draws_in_ratios:
        raise ConfigError(
            "match: expected policy.baseline_name 'random_policy_matched', which draws in the"
            f" matched ratios, got {policy.baseline_name!r}"
        )
    for key in ("baseline_target_ratios", "baseline_bucket_ratios"):
        if getattr(policy, key) is not None:
            raise ConfigError(f"policy.{key}: the ratios come from match, expected none")


def _check_source(experiment: ResolvedExperiment, match: Match) -> None:
    """Ratios are copied set by set, seed by seed and row by row: the source must have each once."""
    source = ResolvedExperiment.of(experiment.given, match.experiment)
    sets, seeds = source.sets, source.seeds
    for key, own, there in ("datasets", experiment.sets, sets), ("seeds", experiment.seeds, seeds):
        if lacking := [item for item in own if item not in there]:
            raise ConfigError(
                f"{key}: expected some of {there}, which are those of {source.name!r}, whose action"
                f" ratios are copied, got {lacking[0]!r}"
            )
    told = [setting_columns(point, source.stanza.match) for point in source.points]
    rows = [float(columns[match.column]) for columns in told if match.column in columns]
    for value in match.values:
        found = sum(isclose(row, value, rel_tol=0, abs_tol=NEAR) for row in rows)
        if found != 1:
            raise ConfigError(
                f"match: {source.name!r} has {found or 'no'} row{'s' * (found > 1)} with"
                f" {match.column} {value:g}, expected"
                f" {f'one in {rows}' if rows else 'an experiment that follows a ' + match.column}"
            )
    actions = experiment.settings.actions
    for point in source.points:
        if further := choices(point, actions)[len(actions) :]:
            raise ConfigError(
                f"match: {source.name!r} may answer from {further[0]!r}, which is no action and has"
                f" no ratio, expected a choice among {actions}"
            )
    for run in (experiment.run, source.run):
        if match.buckets is not None and is_imported(experiment.given, run):
            raise ConfigError(
                "match.buckets: expected none, since they are of a text pass's entropy, of which no"
                f" log of run {run!r} tells"
            )
