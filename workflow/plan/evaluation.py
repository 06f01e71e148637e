"""Experiments: what they read, and what they leave."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from vovnet.config import Settings
from vovnet.config.experiments import experiment_seeds, experiment_sets
from vovnet.core.layout import ROUTER_FIT
from workflow.plan.jobs import NEVER, Wildcards
from workflow.plan.observations import ObservationPlan

RESULT_FILES = ("results.csv", "summary.json", "samples.parquet")
SLICE_FILES = ("error_slices.csv", "error_slices.json")


class EvaluationPlan(ObservationPlan):
    """The rules that evaluate experiments."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        # Every report asks for those of all its experiments.
        self.experiment_observations = cache(self._experiment_observations)

    def experiments(self, *modes: str) -> list[str]:
        """Names of the experiments of some modes, `replay` or `live`."""
        return [name for name, item in self.settings.experiments.items() if item.mode in modes]

    def pattern(self, *modes: str) -> str:
        """A regular expression of their names, for wildcards."""
        return "|".join(map(re.escape, self.experiments(*modes))) or NEVER

    def results(self, experiments: Iterable[str]) -> list[Path]:
        return [path for name in experiments for path in self.result_files(name)]

    def result_files(self, experiment: str) -> list[Path]:
        return [self.layout.eval(experiment) / name for name in RESULT_FILES]

    def slice_files(self, experiment: str) -> list[Path]:
        return [self.layout.eval(experiment) / name for name in SLICE_FILES]

    @property
    def sliced(self) -> list[str]:
        """Names of the experiments that are cut into slices."""
        return [name for name, item in self.settings.experiments.items() if item.error_slices]

    @property
    def sliced_pattern(self) -> str:
        return "|".join(map(re.escape, self.sliced)) or NEVER

    def evaluate_inputs(self, wildcards: Wildcards) -> list[Path]:
        """What is scored: observations and the ratios of a match, or a live run's answers."""
        name = wildcards.experiment
        if self.settings.experiments[name].mode == "live":
            sets = experiment_sets(self.settings, name)
            samples = self.samples(self.settings.data.eval_sets[eval_set] for eval_set in sets)
            return [*self.live_files(name), *samples]
        return [*self.experiment_observations(name), *self.matched(wildcards)]

    def live_files(self, experiment: str) -> list[Path]:
        """What a live run answered and measured."""
        return [self.layout.live_table(experiment), self.layout.live_facts(experiment)]

    def live_inputs(self, wildcards: Wildcards) -> list[Path]:
        """The models and samples of an experiment that runs the model itself."""
        name = wildcards.experiment
        run, data = self.settings.experiments[name].run, self.settings.data
        seeds = experiment_seeds(self.settings, name)
        fitted = self.router_observations(name) if self.fits_router(name) else []
        sets = [data.eval_sets[eval_set] for eval_set in experiment_sets(self.settings, name)]
        return [
            *(path for seed in seeds for path in self.model_files(run, seed)),
            *self.samples(sets),
            *fitted,
            *self.matched(wildcards),
        ]

    def matched(self, wildcards: Wildcards) -> list[Path]:
        """The ratios of an experiment that copies another's, none for other experiments."""
        name = wildcards.experiment
        return [self.matched_file(name)] if self.settings.experiments[name].match else []

    def matched_file(self, experiment: str) -> Path:
        return self.layout.eval(experiment) / "matched.yaml"

    def slice_inputs(self, wildcards: Wildcards) -> list[Path]:
        """What an experiment did, and the observations that it is held against."""
        name = wildcards.experiment
        samples = self.layout.eval(name) / "samples.parquet"
        return [samples, *self.experiment_observations(name)]

    def match_inputs(self, wildcards: Wildcards) -> list[Path]:
        """Results of the matched experiment; for buckets also its samples and their signals."""
        name = wildcards.experiment
        stanza = self.settings.experiments[name]
        assert stanza.match is not None, name
        folder = self.layout.eval(stanza.match.experiment)
        if stanza.match.buckets is None:
            return [folder / "results.csv"]
        run = self.settings.experiments[stanza.match.experiment].run
        signals = [
            self.observation(run, seed, eval_set)
            for seed in experiment_seeds(self.settings, name)
            for eval_set in experiment_sets(self.settings, name)
        ]
        return [folder / "results.csv", folder / "samples.parquet", *signals]

    @property
    def matched_pattern(self) -> str:
        """A regular expression of the experiments with a match, for wildcards."""
        names = [name for name, item in self.settings.experiments.items() if item.match]
        return "|".join(map(re.escape, names)) or NEVER

    def _experiment_observations(self, name: str) -> list[Path]:
        settings, run = self.settings, self.settings.experiments[name].run
        sets = experiment_sets(settings, name)
        tables = [
            self.observation(run, seed, eval_set, group)
            for group in (["actions", "views"] if self.reduces(name) else ["actions"])
            for seed in experiment_seeds(settings, name)
            for eval_set in sets
        ]
        samples = self.samples(settings.data.eval_sets[eval_set] for eval_set in sets)
        fitted = self.router_observations(name) if self.fits_router(name) else []
        return [*tables, *samples, *fitted]

    def reduces(self, name: str) -> bool:
        """Whether an experiment reads reduced views."""
        return bool(self.experiment_views(name))

    def router_observations(self, name: str) -> list[Path]:
        """What a router of this experiment is fitted on."""
        run = self.settings.experiments[name].run
        tables = [
            self.observation(run, seed, ROUTER_FIT)
            for seed in experiment_seeds(self.settings, name)
        ]
        return [*tables, *self.router_samples]
