"""Raw files and unified samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from vovnet.config.experiments import train_parts
from vovnet.data.raw_files import is_pattern, raw_manifest
from workflow.boundary import ends_in_one_line
from workflow.plan.jobs import Jobs, Wildcards
from workflow.plan.raw_inputs import images_changed, own_files, raw_inputs


class DataPlan(Jobs):
    """The rules that make and prepare data."""

    @property
    def synthetic(self) -> list[str]:
        return self._from("synthetic")

    @property
    def remote(self) -> list[str]:
        """Datasets that are downloaded."""
        return self._from("hub")

    def _from(self, source: str) -> list[str]:
        datasets = self.settings.data.datasets
        return [name for name, item in datasets.items() if item.source == source]

    def raw_manifest(self, dataset: str) -> Path:
        """Written last by `vovnet synthesize` or `vovnet fetch`."""
        return raw_manifest(self.settings.data.datasets[dataset])

    def raw_files(self, dataset: str) -> list[Path]:
        """The files of a dataset whose names are known in advance, patterns left out."""
        definition = self.settings.data.datasets[dataset]
        names = dict.fromkeys(definition.files.values())
        return [Path(definition.root) / name for name in names if not is_pattern(name)]

    @ends_in_one_line()
    def prepare_inputs(self, wildcards: Wildcards) -> list[Path]:
        """What a split's raw files are made into by another step, see `raw_inputs`."""
        return raw_inputs(self.settings, wildcards.dataset, wildcards.split, self.hashes)

    @ends_in_one_line()
    def raw_digest(self, wildcards: Wildcards) -> str:
        """A hash of the raw files of a split that are the user's own, of none for other datasets.

        Their content counts and not their time, so that a copy of the project prepares and trains
        nothing again.
        """
        return self.hashes.digest(own_files(self.settings, wildcards.dataset, wildcards.split))

    @ends_in_one_line()
    def images_changed(self, job: Any) -> bool:
        """Whether a job prepares a split that was read from images which are others by now."""
        of_split = job.rule.name == "prepare"
        return of_split and self._changed(job.wildcards.dataset, job.wildcards.split)

    @cached_property
    def _changed(self) -> Callable[[str, str], bool]:
        return cache(partial(images_changed, self.settings, self.layout))

    def samples(self, refs: Iterable[Any]) -> list[Path]:
        """The unified samples of some splits, each once."""
        return list(dict.fromkeys(self.layout.samples(ref.dataset, ref.split) for ref in refs))

    @property
    def all_samples(self) -> list[Path]:
        """The unified samples that training, routers and evaluation read."""
        data = self.settings.data
        train = train_parts(self.settings)
        return self.samples([*train, *data.router_fit, *data.eval_sets.values()])

    @property
    def left_out(self) -> list[Path]:
        """What the leakage gate leaves out of the training mix and of the routers' set."""
        return [self.layout.left_out] if self.settings.data.leaves_out else []

    @property
    def router_samples(self) -> list[Path]:
        """What the routers' set is read from."""
        drops = self.settings.data.leakage.on_hit == "drop"
        return [*self.samples(self.settings.data.router_fit), *(self.left_out if drops else [])]
