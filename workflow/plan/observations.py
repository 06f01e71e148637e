"""Observations of trained models: of the views of the actions, and of further ones."""

from __future__ import annotations

import re
import shlex
from functools import cache, partial
from pathlib import Path

from vovnet.config import Settings, imported_sets, is_imported
from vovnet.core.layout import ROUTER_FIT
from vovnet.policies.experiments import experiment_views, needed_views, uses_router_fit
from workflow.boundary import ends_in_one_line
from workflow.plan.jobs import NEVER, Wildcards
from workflow.plan.training import TrainingPlan


class ObservationPlan(TrainingPlan):
    """The rules that observe."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        # Many jobs ask the same of few experiments.
        self.experiment_views = cache(partial(experiment_views, settings))
        self.fits_router = cache(partial(uses_router_fit, settings))

    def shard(self, *parts: str) -> Path:
        """The manifest of one shard of a group of tables, written last."""
        return self.layout.shard(*parts) / "manifest.json"

    def set_samples(self, wildcards: Wildcards) -> list[Path]:
        """The unified samples of an evaluation set, or of the router's set."""
        data = self.settings.data
        name = wildcards.eval_set
        return self.router_samples if name == ROUTER_FIT else self.samples([data.eval_sets[name]])

    def shards(self, wildcards: Wildcards) -> list[Path]:
        count = self.settings.eval.num_shards
        parts = (wildcards.run, wildcards.seed, wildcards.eval_set, wildcards.group)
        return [self.shard(*parts, str(index), str(count)) for index in range(count)]

    def views(self, wildcards: Wildcards) -> list[str]:
        """The further views of the second group; none of the actions."""
        if wildcards.group == "actions":
            return []
        return self.needed_views(wildcards.run, int(wildcards.seed), wildcards.eval_set)

    def further_views(self, wildcards: Wildcards) -> str:
        """The argument that names them."""
        found = self.views(wildcards)
        return f"--views {shlex.join(found)}" if found else ""

    def live_views(self, wildcards: Wildcards) -> list[str]:
        """Reduced views that a live experiment shows."""
        return self.experiment_views(wildcards.experiment)

    def needed_views(self, run: str, seed: int, eval_set: str) -> list[str]:
        return needed_views(self.settings, run, seed, eval_set, self.experiment_views)

    # ---- what was run elsewhere --------------------------------------------------------

    @property
    def imported_pattern(self) -> str:
        """A regular expression of the runs that are read from logs, for wildcards."""
        runs = [run for run in self.settings.runs if is_imported(self.settings, run)]
        return "|".join(map(re.escape, runs)) or NEVER

    @ends_in_one_line()
    def log_digest(self, wildcards: Wildcards) -> str:
        """A hash of the logs of a set; their content counts and not their time."""
        logged = imported_sets(self.settings, wildcards.run).get(wildcards.eval_set)
        files = {Path(view.file) for view in logged.views.values()} if logged else set()
        return self.hashes.digest(sorted(path for path in files if path.is_file()))

    def observation(self, run: str, seed: int, eval_set: str, group: str = "actions") -> Path:
        """The manifest of a group of tables, which lie beside it and are written before it."""
        return self.layout.observation_manifest(run, seed, eval_set, group)
