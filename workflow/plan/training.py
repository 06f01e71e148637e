"""The stages of training."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from vovnet.config import is_base, is_imported, last_stage, run_settings
from vovnet.config.experiments import stage1_owners
from vovnet.model.loading import base_model_files
from workflow.boundary import ends_in_one_line
from workflow.plan.data import DataPlan
from workflow.plan.jobs import Wildcards


class TrainingPlan(DataPlan):
    """The rules that train."""

    def train_inputs(self, wildcards: Wildcards) -> list[Path]:
        """The training mix of a run."""
        mix = self.samples(run_settings(self.settings, wildcards.run).data.train)
        return [*mix, *self.left_out]

    @ends_in_one_line()
    def base_model(self, wildcards: Wildcards) -> str:
        """A hash of the files of a local base model, empty for one of the hub."""
        model = run_settings(self.settings, wildcards.run).model
        return self.hashes.digest(base_model_files(model))

    @cached_property
    def owners(self) -> dict[str, str]:
        """Run -> the run whose stage 1 it starts from."""
        return stage1_owners(self.settings)

    def stage1(self, wildcards: Wildcards) -> Path:
        """The stage that stage 2 starts from; runs with equal stage-1 settings share it."""
        return self.stage(self.owners[wildcards.run], wildcards.seed, 1)

    def checkpoint(self, wildcards: Wildcards) -> list[Path]:
        return self.model_files(wildcards.run, wildcards.seed)

    @ends_in_one_line()
    def model_files(self, run: str, seed: int) -> list[Path]:
        """What a run's model is loaded from: its last stage, or of a base run the base model.

        A base model of the hub has no files here.
        """
        if is_imported(self.settings, run):
            return []
        if is_base(self.settings, run):
            return base_model_files(run_settings(self.settings, run).model)
        return [self.stage(run, seed, last_stage(self.settings, run))]

    def stage(self, run: str, seed: int, stage: int) -> Path:
        return self.layout.stage(run, seed, stage) / "manifest.json"
