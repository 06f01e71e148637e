"""Observations of trained models: of the views of the actions, and of further ones."""

from __future__ import annotations

from pathlib import Path

from vovnet.config import Settings
from vovnet.core.layout import ROUTER_FIT
from vovnet.policies import experiment_views, needed_views
from workflow.plan.jobs import Wildcards
from workflow.plan.training import TrainingPlan


class ObservationPlan(TrainingPlan):
    """The rules that observe."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._views: dict[tuple[str, int, str], list[str]] = {}

    def shard(self, run: str, seed: str, eval_set: str, part: str, parts: str) -> Path:
        """The manifest of one shard of an observation, written last."""
        return self.layout.shard(run, seed, eval_set, part, parts) / "manifest.json"

    def set_samples(self, wildcards: Wildcards) -> list[Path]:
        """The unified samples of an evaluation set, or of the router's set."""
        data = self.settings.data
        name = wildcards.eval_set
        return self.samples(data.router_fit if name == ROUTER_FIT else [data.eval_sets[name]])

    def shards(self, wildcards: Wildcards) -> list[Path]:
        count = self.settings.eval.num_shards
        parts = (wildcards.run, wildcards.seed, wildcards.eval_set)
        return [self.shard(*parts, str(index), str(count)) for index in range(count)]

    def views(self, wildcards: Wildcards) -> list[str]:
        """Reduced views that the experiments on a set need of a trained model."""
        return self.needed_views(wildcards.run, int(wildcards.seed), wildcards.eval_set)

    def live_views(self, wildcards: Wildcards) -> list[str]:
        """Reduced views that a live experiment shows."""
        return experiment_views(self.settings, wildcards.experiment)

    def needed_views(self, run: str, seed: int, eval_set: str) -> list[str]:
        key = (run, seed, eval_set)
        if key not in self._views:
            self._views[key] = needed_views(self.settings, *key)
        return self._views[key]

    def view_shard(self, run: str, seed: str, eval_set: str, part: str, parts: str) -> Path:
        """The manifest of one shard of the reduced views, written last."""
        return self.layout.view_shard(run, seed, eval_set, part, parts) / "manifest.json"

    def view_shards(self, wildcards: Wildcards) -> list[Path]:
        count = self.settings.eval.num_shards
        parts = (wildcards.run, wildcards.seed, wildcards.eval_set)
        return [self.view_shard(*parts, str(index), str(count)) for index in range(count)]

    def observation(self, run: str, seed: int, eval_set: str) -> list[Path]:
        """The tables of an observation; timings are apart, because no decision reads them."""
        folder = self.layout.observations(run, seed, eval_set)
        return [
            *(folder / f"{name}.parquet" for name in ("signals", *self.settings.actions)),
            folder / "manifest.json",
        ]

    def timings(self, run: str, seed: int, eval_set: str) -> list[Path]:
        folder = self.layout.observations(run, seed, eval_set)
        return [folder / f"{view}.timings.parquet" for view in self.settings.actions]
