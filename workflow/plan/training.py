"""The stages of training."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from vovnet.config import run_settings
from vovnet.config.experiments import stage1_owner
from workflow.plan.data import DataPlan
from workflow.plan.jobs import Wildcards


class TrainingPlan(DataPlan):
    """The rules that train."""

    def train_inputs(self, wildcards: Wildcards) -> list[Path]:
        """The training mix of a run, and its base model where that is a folder."""
        value = run_settings(self.settings, wildcards.run)
        return self.samples(value.data.train) + _model_files(value.model.base_model_name)

    @cached_property
    def owners(self) -> dict[str, str]:
        """Run -> the run whose stage 1 it starts from."""
        return {run: stage1_owner(self.settings, run) for run in self.settings.runs}

    def stage1(self, wildcards: Wildcards) -> Path:
        """The stage that stage 2 starts from; runs with equal stage-1 settings share it."""
        return self.stage(self.owners[wildcards.run], wildcards.seed, 1)

    def stage2(self, wildcards: Wildcards) -> Path:
        return self.stage(wildcards.run, wildcards.seed, 2)

    def stage(self, run: str, seed: int, stage: int) -> Path:
        return self.layout.stage(run, seed, stage) / "manifest.json"


def _model_files(base_model_name: str) -> list[Path]:
    """The files of a local base model, none for one of the hub."""
    folder = Path(base_model_name)
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in {".json", ".safetensors"})
