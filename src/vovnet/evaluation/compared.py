"""What a report compares: which experiment stands for VoVNet, at which lambda, and beside what.

There is no statistic here: plans, tables and figures ask for it, too.
"""

from collections.abc import Iterable
from math import isclose

from vovnet.config import NEAR, Settings, policy_points, run_settings
from vovnet.config.experiments import ResolvedExperiment, experiment_seeds, experiment_sets
from vovnet.core.errors import ConfigError
from vovnet.policies.decide import setting_columns


def main_experiment(settings: Settings, names: Iterable[str], dataset: str) -> str | None:
    """Of some experiments the one that stands for VoVNet on a set: its first sweep of lambda_cost.

    Or else its first experiment that replays; None where there is none.
    """
    stanzas = {name: settings.experiments[name] for name in names}
    replayed = [
        name
        for name, item in stanzas.items()
        if item.role == "vovnet"
        and item.mode == "replay"
        and dataset in experiment_sets(settings, name)
    ]
    swept = [name for name in replayed if "lambda_cost" in stanzas[name].sweep]
    return next(iter(swept + replayed), None)


def is_target(settings: Settings, lambda_cost: float) -> bool:
    """Whether a lambda is `report.target_lambda`."""
    return isclose(lambda_cost, settings.report.target_lambda, rel_tol=0, abs_tol=NEAR)


def check_target(settings: Settings, names: Iterable[str]) -> None:
    """Refuse a `report.target_lambda` that is no point of an experiment that follows a lambda."""
    for name in names:
        experiment = ResolvedExperiment.of(settings, name)
        told = [setting_columns(point, experiment.stanza.match) for point in experiment.points]
        lambdas = [float(columns["lambda_cost"]) for columns in told if "lambda_cost" in columns]
        if lambdas and not any(is_target(settings, value) for value in lambdas):
            known = ", ".join(f"{value:g}" for value in lambdas)
            raise ConfigError(
                f"report.target_lambda: {settings.report.target_lambda:g} is not a point of"
                f" experiment {name!r} ({known})"
            )


def check_ablations(settings: Settings, default: str, ablations: Iterable[str]) -> None:
    """Refuse ablations that cannot be compared with the default at the target lambda."""
    for name in ablations:
        _check_comparable(settings, default, name)
    check_target(settings, [default, *ablations])


def _check_comparable(settings: Settings, default: str, name: str) -> None:
    first, second = settings.experiments[default], settings.experiments[name]
    if first.max_samples != second.max_samples:
        raise ConfigError(
            f"experiments.{name}.max_samples: expected that of {default!r}, {first.max_samples},"
            f" to compare the same questions; got {second.max_samples}"
        )
    if not set(experiment_seeds(settings, default)) & set(experiment_seeds(settings, name)):
        raise ConfigError(f"experiments.{name}.seeds: expected one that {default!r} has too")
    wanted, got = (run_settings(settings, item.run).policy.cost_scale for item in (first, second))
    if wanted != got:
        raise ConfigError(
            f"runs.{second.run}.policy.cost_scale: an ablation needs the default's unit of cost,"
            f" {wanted:g}, got {got:g}"
        )
    units = [policy_points(settings, other)[0].lambda_unit for other in (default, name)]
    if units[0] != units[1]:
        raise ConfigError(
            f"experiments.{name}: an ablation needs the default's policy.lambda_unit, {units[0]!r},"
            f" got {units[1]!r}"
        )
