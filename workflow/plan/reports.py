"""What is reported, the named targets, and the bench."""

from __future__ import annotations

from collections.abc import Container, Iterable
from functools import cached_property
from pathlib import Path

from vovnet.config import last_stage
from vovnet.config.experiments import (
    ablation_experiments,
    bench_experiments,
    experiment_seeds,
    fallback_experiments,
    report_experiments,
    report_names,
    run_seeds,
    target_experiments,
)
from vovnet.core.errors import ConfigError
from vovnet.core.files import sha256_json
from vovnet.core.layout import PAPER, SUITE
from vovnet.evaluation.columns import HULL_FILES
from vovnet.evaluation.compared import check_ablations, check_target, main_experiment
from vovnet.policies.experiments import head_experiments, reliability_experiments
from vovnet.report.discovery import ROOT, made_by
from workflow.boundary import ends_in_one_line
from workflow.plan.evaluation import EvaluationPlan
from workflow.plan.jobs import Wildcards

BENCH_GPU_FILES = ("bench_gpu.json", "bench_gpu.md", "bench_gpu.pdf", "bench_gpu.png")
BENCH_FILES = (
    *(f"{name}.json" for name in ("suite", "batching", "reuse", "reductions", "growth")),
    "bench.csv",
    "bench.md",
    "manifest.json",
)


class ReportPlan(EvaluationPlan):
    """The rules that report."""

    @cached_property
    def reports(self) -> list[str]:
        """Names of the reports: the paper, and the whole suite where the paper shows a part."""
        return report_names(self.settings)

    @cached_property
    def reported(self) -> dict[str, list[str]]:
        """Report -> names of the experiments that it shows."""
        return {report: report_experiments(self.settings, report) for report in self.reports}

    @ends_in_one_line()
    def hull_inputs(self, wildcards: Wildcards) -> list[Path]:
        """The results that a report shows, and the observations or live answers behind them.

        A report that replays nothing has nothing to compare, which is an error.
        """
        stanzas, report = self.settings.experiments, wildcards.report
        names = self.reported[report]
        replayed = [name for name in names if stanzas[name].mode == "replay"]
        if not replayed:
            raise ConfigError(f"experiments: report {report!r} needs one of mode: replay, has none")
        observed = [path for name in replayed for path in self.experiment_observations(name)]
        live = [path for n in names if n not in replayed for path in self.live_files(n)]
        return list(dict.fromkeys([*self.results(names), *observed, *live]))

    @ends_in_one_line()
    def report_inputs(self, wildcards: Wildcards) -> list[Path]:
        """What tables and figures read: results, their summaries and the hull metrics."""
        names, sets = self.reported[wildcards.report], self.settings.data.eval_sets
        mains = (main_experiment(self.settings, names, dataset) for dataset in sets)
        check_target(self.settings, filter(None, dict.fromkeys(mains)))
        results = [self.layout.eval(name) / "results.csv" for name in names]
        return [*results, *self.hull_files(wildcards.report)]

    def hull_files(self, report: str) -> list[Path]:
        """Of a report by its name, or of any by a wildcard, as all methods that take a report."""
        return [self.layout.of_report(report).hull / name for name in HULL_FILES]

    def table_files(self, report: str) -> list[Path]:
        folder = self.layout.of_report(report).paper
        return [folder / name for name in made_by("vovnet.report.tables")]

    def figure_folder(self, report: str) -> Path:
        return self.layout.of_report(report).paper / "figures"

    def sanity_files(self, report: str) -> list[Path]:
        folder = self.layout.of_report(report).paper
        return [folder / name for name in ("sanity.md", "sanity.json")]

    def report_files(self, *reports: str) -> list[Path]:
        """Everything that reports show; of every report where none is named."""
        return [
            path
            for report in reports or self.reports
            for path in (
                *self.hull_files(report),
                *self.table_files(report),
                self.figure_folder(report),
                *self.sanity_files(report),
                self.page_file(report),
            )
        ]

    def page_file(self, report: str) -> Path:
        return self.layout.of_report(report).paper / "report.html"

    def page_inputs(self, wildcards: Wildcards) -> list[Path]:
        """What the page shows: tables, checks, curves, and what was observed of each question."""
        report = wildcards.report
        made = [*self.table_files(report), *self.sanity_files(report), *self.hull_files(report)]
        return list(dict.fromkeys([*made, *self.hull_inputs(wildcards)]))

    def page_template(self, wildcards: Wildcards) -> str:
        """A hash of what the page is made from beside Python: an edit of it makes the page anew."""
        found = self.hashes.hashes(sorted((ROOT / "assets/page").iterdir()))
        return sha256_json({path.name: digest for path, digest in found.items()})

    def pdf_file(self, report: str) -> Path:
        return self.layout.of_report(report).paper / "paper.pdf"

    def pdf_inputs(self, wildcards: Wildcards) -> list[Path]:
        """Tables and figures of a report; with everything, also those that are made once."""
        report, once = wildcards.report, list[Path]()
        if report == SUITE:
            once = [*self.ablation_files, *self.reliability_of([PAPER])]
        return [*self.table_files(report), self.figure_folder(report), *once]

    @cached_property
    def reliability(self) -> dict[str, list[str]]:
        """Report -> what its reliability tells of, where something is cut into slices.

        That of the paper is about the whole suite.
        """
        reports = [report for report in self.reports if report != SUITE]
        told = {report: reliability_experiments(self.settings, report) for report in reports}
        return {report: names for report, names in told.items() if {*names} & {*self.sliced}}

    @ends_in_one_line()
    def reliability_inputs(self, wildcards: Wildcards) -> list[Path]:
        """Slices, the results of experiments with a fallback, and what heads expected."""
        found = self.sliced, fallback_experiments(self.settings), head_experiments(self.settings)
        told = self.reliability[wildcards.report]
        sliced, fallbacks, heads = ([name for name in names if name in told] for names in found)
        check_target(self.settings, [*sliced, *fallbacks])
        return [
            *(path for name in sliced for path in self.slice_files(name)),
            *(self.layout.eval(name) / "results.csv" for name in fallbacks),
            *(self.layout.eval(name) / "summary.json" for name in heads),
        ]

    def reliability_files(self, report: str) -> list[Path]:
        """Tables and figures of a report by its name, or of any by a wildcard."""
        folder = self.layout.of_report(report).paper
        return [folder / name for name in made_by("vovnet.report.reliability")]

    def reliability_of(self, reports: Iterable[str]) -> list[Path]:
        """The same of those of some reports that have any."""
        return [
            path
            for name in reports
            if name in self.reliability
            for path in self.reliability_files(name)
        ]

    @ends_in_one_line()
    def ablation_inputs(self, wildcards: Wildcards) -> list[Path]:
        """What the default and the ablations did, and the observations behind it."""
        names = ablation_experiments(self.settings)
        check_ablations(self.settings, names[0], names[1:])
        samples = [self.layout.eval(name) / "samples.parquet" for name in names]
        observed = [path for name in names for path in self.experiment_observations(name)]
        return list(dict.fromkeys([*samples, *observed]))

    @property
    def ablation_files(self) -> list[Path]:
        """The table of ablations; none where the configuration has no ablation."""
        if len(ablation_experiments(self.settings)) < 2:
            return []
        return [self.layout.paper / name for name in made_by("vovnet.report.ablations")]

    def training_logs(self, wildcards: Wildcards) -> list[Path]:
        """Manifests of the stages behind a report; logs and calibration lie beside them."""
        settings = self.settings
        pairs = [
            (settings.experiments[name].run, seed)
            for name in self.reported[wildcards.report]
            for seed in experiment_seeds(settings, name)
            if settings.experiments[name].run in self.owners
        ]
        stages = [
            self.stage(owner, seed, stage)
            for run, seed in dict.fromkeys(pairs)
            for owner, stage in ((self.owners[run], 1), (run, 2))[: last_stage(settings, run)]
        ]
        return list(dict.fromkeys(stages))

    def target_files(self, target: str) -> list[Path]:
        """The results of a target's experiments, tables about them alone, and its own report."""
        names = target_experiments(self.settings, target)
        tables = {"reliability": self.reliability_of([PAPER]), "ablations": self.ablation_files}
        report = [target] if target in self.settings.report.further else []
        reported = [
            *self.reliability_of(report),
            *(path for name in report for path in self.report_files(name)),
        ]
        return [*self.results(names), *tables.get(target, []), *reported]

    @ends_in_one_line()
    def named_targets(self, taken: Container[str]) -> dict[str, list[Path]]:
        """Name -> files of every experiment and every list; `taken` are the names of rules.

        A list may have the name of an experiment that it holds: it makes that one among others.
        """
        settings = self.settings
        lists = {name: self.target_files(name) for name in settings.targets}
        single = {name: self.experiment_files(name) for name in settings.experiments}
        for key, names in (("targets", lists), ("experiments", single)):
            for name in names:
                if name in taken:
                    raise ConfigError(
                        f"{key}.{name}: the name is that of a rule, choose another one"
                    )
        for name in lists.keys() & single.keys():
            if name not in target_experiments(settings, name):
                raise ConfigError(
                    f"targets.{name}: an experiment has this name, and is not in the list: choose"
                    " another name for one of the two"
                )
        return single | lists

    def experiment_files(self, name: str) -> list[Path]:
        """The results of an experiment, and its slices where it is cut into some."""
        slices = self.slice_files(name) if self.settings.experiments[name].error_slices else []
        return [*self.result_files(name), *slices]

    # ---- bench -------------------------------------------------------------------------

    @property
    def bench_files(self) -> list[Path]:
        return [self.layout.bench / name for name in BENCH_FILES]

    @property
    def bench_gpu_files(self) -> list[Path]:
        return [self.layout.bench_gpu / name for name in BENCH_GPU_FILES]

    @ends_in_one_line()
    def bench_inputs(self, wildcards: Wildcards) -> list[Path]:
        """The model of the first seed, the evaluation sets and the routers' set."""
        data = self.settings.data
        names = bench_experiments(self.settings)
        run = self.settings.experiments[names[0]].run
        samples = [*self.samples(data.eval_sets.values()), *self.router_samples]
        return [*self.model_files(run, run_seeds(self.settings, run)[0]), *samples]
