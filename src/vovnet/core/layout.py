"""Where every file of a results folder lies. The one definition of the file layout."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

ROUTER_FIT = "router_fit"
"""Name of the observed set on which routers are fitted (`data.router_fit`)."""

PAPER, SUITE = "paper", "suite"
"""Names of the reports, which are those of their folders: what the paper shows, and everything."""

TAKEN = (
    *(PAPER, SUITE, "raw", "data", "runs", "observations", "eval", "bench", "bench_gpu"),
    *("config", "logs", "benchmarks", "provenance", "pretraining", "tiny-qwen3-vl", "tracking"),
)
"""Folders of results, whose names no further report can have."""


Number = int | str
"""Of a seed, stage or shard; the DAG has texts such as "{seed}" in their place."""


@dataclass(frozen=True)
class Layout:
    """`report` is the report that is read or written.

    With `quick`, everything that is made from so many samples of each set lies in a folder of its
    own; data and trained models are those of the whole suite.
    """

    root: Path
    report: str = field(default=PAPER, kw_only=True)
    quick: int | None = field(default=None, kw_only=True)

    def of_report(self, report: str) -> Self:
        """The same files, and those of another report."""
        return replace(self, report=report)

    @property
    def results(self) -> Path:
        """Folder of what is observed, evaluated and reported."""
        return self.root if self.quick is None else self.root / f"quick-{self.quick}"

    def raw(self, dataset: str) -> Path:
        """Folder into which the synthetic world renders a raw dataset."""
        return self.root / "raw" / dataset

    def data(self, dataset: str) -> Path:
        return self.root / "data" / dataset

    def samples(self, dataset: str, split: str) -> Path:
        return self.data(dataset) / f"{split}.jsonl"

    def data_manifest(self, dataset: str, split: str) -> Path:
        return self.data(dataset) / f"{split}.manifest.json"

    def image_files(self, dataset: str, split: str) -> Path:
        """The image files that a split was read from, for the planning of its next preparation."""
        return self.provenance / "images" / dataset / f"{split}.jsonl"

    @property
    def leakage_report(self) -> Path:
        return self.root / "data" / "leakage.json"

    @property
    def left_out(self) -> Path:
        """The samples that the leakage gate leaves out of the training mix and of `router_fit`."""
        return self.root / "data" / "left_out.jsonl"

    @property
    def provenance(self) -> Path:
        """Folder of Snakemake's records of finished jobs, and of the hashes of what they read."""
        return self.root / "provenance"

    @property
    def tiny_model(self) -> Path:
        """The tiny base model, where it is made anew (the package brings one along)."""
        return self.root / "tiny-qwen3-vl"

    def stage(self, run: str, seed: Number, stage: int) -> Path:
        """Folder of one training stage; its `manifest.json` is written last."""
        return self.root / "runs" / run / f"seed{seed}" / f"stage{stage}"

    def observations(self, run: str, seed: Number, eval_set: str) -> Path:
        return self.results / "observations" / run / f"seed{seed}" / eval_set

    def observation_manifest(self, run: str, seed: Number, eval_set: str, group: str) -> Path:
        """Manifest of a group of tables, `actions` or `views`, which lie beside it."""
        return self.observations(run, seed, eval_set) / f"{group}.manifest.json"

    def shard(
        self, run: str, seed: Number, eval_set: str, group: str, shard: Number, num_shards: Number
    ) -> Path:
        """Folder of one shard (counted from 0) of a group of tables."""
        name = f"{shard}-of-{num_shards}"
        return self.observations(run, seed, eval_set) / "shards" / group / name

    def eval(self, experiment: str) -> Path:
        return self.results / "eval" / experiment

    def live_table(self, experiment: str) -> Path:
        """What a live run answered, and how long each part took."""
        return self.eval(experiment) / "live.parquet"

    def live_facts(self, experiment: str) -> Path:
        """What holds for a whole live run; it is written last."""
        return self.eval(experiment) / "live.json"

    @property
    def hull(self) -> Path:
        """Folder of the hull metrics over the experiments of the report."""
        return self.results / "eval" / "_hull" / self.report

    @property
    def bench(self) -> Path:
        return self.results / "bench"

    @property
    def bench_gpu(self) -> Path:
        return self.results / "bench_gpu"

    @property
    def paper(self) -> Path:
        """Folder of the report's tables, figures and sanity checks."""
        return self.results / self.report
