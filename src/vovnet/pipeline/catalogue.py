"""The steps of the pipeline: the one table that the command line, the DAG and the keys read.

It imports no other module, so that `vovnet --help` starts at once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One step: what it is for, what it reads, and which code computes its result."""

    name: str
    help: str
    computed_by: str
    """The module whose imports are the code of the result."""
    reads: str = ""
    """The function of `vovnet.pipeline.steps` that lists its settings; its own name if empty."""
    plugins: tuple[str, ...] = ()
    """Registries from which the settings name modules, see `vovnet.pipeline.keys`."""
    shared: bool = False
    """Whether its results are those of the whole suite however few samples are evaluated."""
    discovers: bool = False
    """Whether every module of the package `computed_by` is used, as tables and figures are."""

    is_report: bool = False
    """Whether it writes a part of a report: such commands are objects of one module."""

    @property
    def command(self) -> str:
        """The module of its command, or `module:object`."""
        name = f"report:{self.name.upper()}" if self.is_report else self.name
        return f"vovnet.commands.{name}"


FORMATS = "vovnet.data.formats"
FAMILIES = "vovnet.model.families"
REDUCTIONS = "vovnet.views.reductions"
POLICIES = "vovnet.policies"
SCORERS = "vovnet.evaluation.scoring"

_STEPS = (
    Step(
        "synthesize",
        "render a synthetic dataset in its raw layout",
        "vovnet.data.world.render",
        shared=True,
    ),
    Step("fetch", "download a dataset of the hub", "vovnet.data.hub", shared=True),
    Step(
        "prepare",
        "turn one raw split into unified samples",
        "vovnet.data.prepare",
        plugins=(FORMATS,),
        shared=True,
    ),
    Step(
        "leakage",
        "compare the training mix with the evaluation sets",
        "vovnet.data.leakage",
        shared=True,
    ),
    Step(
        "pretrain",
        "make the tiny base model of the package",
        "vovnet.training.pretrain",
        plugins=(FAMILIES,),
        shared=True,
    ),
    Step(
        "train",
        "train one stage of one run and seed",
        "vovnet.training.stage",
        plugins=(FAMILIES, REDUCTIONS),
        shared=True,
    ),
    Step(
        "observe",
        "run a trained model on every view of a set",
        "vovnet.inference.observe",
        plugins=(FAMILIES, REDUCTIONS),
    ),
    Step(
        "gather",
        "join the shards of an observation",
        "vovnet.inference.shards",
        reads="observe",
    ),
    Step(
        "match",
        "read the action ratios that a random policy copies",
        "vovnet.evaluation.match",
        plugins=(POLICIES,),
    ),
    Step(
        "evaluate",
        "score an experiment from stored observations",
        "vovnet.evaluation.experiment",
        plugins=(POLICIES, SCORERS),
    ),
    Step(
        "live",
        "run an experiment sample by sample, with timings",
        "vovnet.inference.live",
        plugins=(FAMILIES, REDUCTIONS, POLICIES),
    ),
    Step(
        "error_slices",
        "tell where an experiment errs",
        "vovnet.evaluation.error_slices",
        plugins=(POLICIES, SCORERS),
    ),
    Step(
        "reliability",
        "report errors, calibration and fallbacks",
        "vovnet.report.reliability",
        plugins=(POLICIES, SCORERS),
        discovers=True,
        is_report=True,
    ),
    Step(
        "ablation_table",
        "compare ablations with the default",
        "vovnet.report.ablations",
        plugins=(POLICIES, SCORERS),
        discovers=True,
        is_report=True,
    ),
    Step(
        "hull_metrics",
        "compare policies with the mixing hull",
        "vovnet.evaluation.hull_metrics",
        reads="shown",
        plugins=(POLICIES, SCORERS),
        is_report=True,
    ),
    Step(
        "tables",
        "write the paper's tables",
        "vovnet.report.tables",
        reads="shown",
        discovers=True,
        is_report=True,
    ),
    Step(
        "figures",
        "draw the paper's figures",
        "vovnet.report.figures",
        reads="shown",
        discovers=True,
        is_report=True,
    ),
    Step(
        "sanity",
        "check that the results are what they must be",
        "vovnet.report.checks",
        reads="shown",
        discovers=True,
        is_report=True,
    ),
    Step(
        "paper_pdf",
        "put the tables and figures into one document",
        "vovnet.report.document",
        reads="shown",
        is_report=True,
    ),
    Step(
        "bench",
        "measure what observing once saves",
        "vovnet.commands.bench.all_parts",
        plugins=(FAMILIES, REDUCTIONS, POLICIES, SCORERS),
    ),
)

STEPS = {step.name: step for step in _STEPS}
