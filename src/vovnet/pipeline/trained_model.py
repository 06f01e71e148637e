"""A trained model: what it was trained with, and where its files lie."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vovnet.config import Settings, is_base, last_stage, run_settings
from vovnet.config.experiments import stage1_owner
from vovnet.core.errors import CheckpointError
from vovnet.core.files import read_object
from vovnet.core.layout import Layout
from vovnet.pipeline.keys import step_key

WEIGHTS_NAME = "model.safetensors"
HASHES = "hashes.json"
"""In the folder of a checkpoint: the SHA-256 of each of its files."""


def weights_file(checkpoint: Path) -> Path:
    """The weights of a stage folder, an accelerate state folder, or a `.pt` checkpoint."""
    path = checkpoint / WEIGHTS_NAME if checkpoint.is_dir() else checkpoint
    if not path.exists():
        raise CheckpointError(
            f"{checkpoint}: no checkpoint there, expected {WEIGHTS_NAME} or a .pt file"
        )
    return path


def manifest_of(weights: Path) -> dict[str, Any]:
    """What is said of weights by the manifest beside them; nothing where there is none."""
    path = weights.with_name("manifest.json")
    return read_object(path) if path.exists() else {}


def run_of(checkpoint: Path) -> dict[str, Any]:
    """The manifest of the stage to which a checkpoint belongs; nothing where none tells of it."""
    weights = weights_file(checkpoint).absolute()  # whose folder has a name
    return manifest_of(weights) or manifest_of(weights.parent)


@dataclass(frozen=True)
class TrainedModel:
    """A run of the suite with a seed: its resolved settings, its folders and files.

    `suite` are the settings before the run's own are applied. A base run is a model of which
    nothing was trained: it has no weights of its own.
    """

    suite: Settings
    layout: Layout
    run: str
    seed: int

    @cached_property
    def settings(self) -> Settings:
        """The suite's settings with those of the run and the seed applied."""
        return run_settings(self.suite, self.run, self.seed)

    @property
    def is_base(self) -> bool:
        """Whether it is the base model as it is."""
        return is_base(self.suite, self.run)

    @property
    def last_stage(self) -> int:
        """The stage whose model it is; 0 of a base run."""
        return last_stage(self.suite, self.run)

    @property
    def has_head(self) -> bool:
        """Whether it has a trained policy head."""
        return self.last_stage == 2

    @property
    def facts(self) -> dict[str, Any]:
        """How manifests name the model."""
        return {"run": self.run, "seed": self.seed}

    @property
    def stage1_model(self) -> "TrainedModel":
        """The model whose stage 1 this one goes on from; runs with equal settings share it."""
        return replace(self, run=stage1_owner(self.suite, self.run))

    @property
    def checkpoint(self) -> Path | None:
        """Folder of the finished model; None of a base run, which has no weights of its own."""
        return None if self.is_base else self.stage(self.last_stage)

    @property
    def weights(self) -> Path:
        """File of the finished model's weights; a missing one is an error."""
        return weights_file(self.stage(self.last_stage))

    def stage(self, number: int) -> Path:
        """Folder in which this run trains a stage."""
        return self.layout.stage(self.run, self.seed, number)

    def key(self, step: str, views: Sequence[str] = (), **selection: Any) -> dict[str, str]:
        """The hashes of settings and code with which a step's result of this model is stored."""
        return step_key(self.suite, step, views, run=self.run, seed=self.seed, **selection)

    def observations(self, eval_set: str) -> Path:
        """Folder of the tables that were observed on a set."""
        return self.layout.observations(self.run, self.seed, eval_set)

    def observation_manifest(self, eval_set: str, group: str) -> Path:
        return self.layout.observation_manifest(self.run, self.seed, eval_set, group)

    def shard(self, eval_set: str, group: str, shard: int, num_shards: int) -> Path:
        """Folder of one shard (counted from 0) of an observation."""
        return self.layout.shard(self.run, self.seed, eval_set, group, shard, num_shards)
