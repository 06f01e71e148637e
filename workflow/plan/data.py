"""Raw files and unified samples."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vovnet.config.experiments import train_parts
from vovnet.data import hub
from workflow.plan.jobs import Jobs, Wildcards


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
        definition = self.settings.data.datasets[dataset]
        name = hub.MANIFEST if definition.source == "hub" else "manifest.json"
        return Path(definition.root) / name

    def raw_files(self, dataset: str) -> list[Path]:
        """The files of a dataset whose names are known in advance, globs left out."""
        definition = self.settings.data.datasets[dataset]
        names = dict.fromkeys(definition.files.values())
        return [Path(definition.root) / name for name in names if not _is_glob(name)]

    def prepare_inputs(self, wildcards: Wildcards) -> list[Path]:
        """Raw files of a split.

        Files of the user's own are listed as far as they exist: the DAG of a configuration can
        be seen without its data, and `vovnet prepare` names what is missing.
        """
        dataset = wildcards.dataset
        definition = self.settings.data.datasets[dataset]
        root, name = Path(definition.root), definition.files[wildcards.split]
        if definition.source == "synthetic":
            manifest = self.raw_manifest(dataset)
            listed = [] if _is_glob(name) else [root / name]
            others = [other for other in definition.files.values() if other != name]
            edited = _edited(root, manifest, others)
            return list(dict.fromkeys([manifest, *listed, *edited]))
        if definition.source == "hub":
            return [self.raw_manifest(dataset)]
        if _is_glob(name):
            return sorted(root.glob(name))
        if (root / name).is_dir():
            return sorted(path for path in (root / name).rglob("*") if path.is_file())
        others = [definition.image_root or "", definition.ocr_files.get(wildcards.split, "")]
        found = [root / other for other in (name, *others) if other]
        return [path for path in found if path.exists()]

    def samples(self, refs: Iterable[Any]) -> list[Path]:
        """The unified samples of some splits, each once."""
        return list(dict.fromkeys(self.layout.samples(ref.dataset, ref.split) for ref in refs))

    @property
    def all_samples(self) -> list[Path]:
        """The unified samples that training, routers and evaluation read."""
        data = self.settings.data
        train = train_parts(self.settings)
        return self.samples([*train, *data.router_fit, *data.eval_sets.values()])


def _is_glob(name: str) -> bool:
    return any(mark in name for mark in "*?[")


def _edited(root: Path, manifest: Path, others: Iterable[str]) -> list[Path]:
    """Rendered files that were changed by hand since the manifest was written last.

    Files that only `others`, the patterns of other splits, are made of do not count.
    """
    if not manifest.is_file():
        return []
    written = manifest.stat().st_mtime_ns
    elsewhere = {path for pattern in others for path in root.glob(pattern)}
    files = (path for path in root.rglob("*") if path.is_file() and path not in elsewhere)
    return sorted(path for path in files if path.stat().st_mtime_ns > written)
