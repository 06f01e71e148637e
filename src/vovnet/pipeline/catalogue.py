"""The steps of the pipeline: the one table that the command line, the DAG and the keys read.

It imports no other module, so that `vovnet --help` starts at once.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One step: what it is for, what it reads, and which code computes its result."""

    help: str
    computed_by: str
    """The module whose imports are the code of the result."""
    plugins: tuple[str, ...] = ()
    """Registries from which the settings name modules, see `vovnet.pipeline.keys`."""
    reads: str = ""
    """The function of `vovnet.pipeline.steps` that lists its settings; its own name if empty."""
    shared: bool = False
    """Whether its results are those of the whole suite however few samples are evaluated."""
    discovers: bool = False
    """Whether every module of the package `computed_by` is used, as tables and figures are."""


FORMATS = "vovnet.data.formats"
FAMILIES = "vovnet.model.families"
REDUCTIONS = "vovnet.views.reductions"
POLICIES = "vovnet.policies"
SCORERS = "vovnet.evaluation.scoring"
MODEL = (FAMILIES, REDUCTIONS)
SCORED = (POLICIES, SCORERS)

STEPS = {
    "synthesize": Step(
        "render a synthetic dataset in its raw layout", "vovnet.data.world.render", shared=True
    ),
    "fetch": Step("download a dataset of the hub", "vovnet.data.hub", shared=True),
    "prepare": Step(
        "turn one raw split into unified samples", "vovnet.data.prepare", (FORMATS,), shared=True
    ),
    "leakage": Step(
        "compare the training mix with the evaluation sets", "vovnet.data.leakage", shared=True
    ),
    "pretrain": Step(
        "make the tiny base model", "vovnet.training.pretrain", (FAMILIES,), shared=True
    ),
    "train": Step(
        "train one stage of one run and seed", "vovnet.training.stage", MODEL, shared=True
    ),
    "observe": Step(
        "run a trained model on every view of a set", "vovnet.inference.observe", MODEL
    ),
    "gather": Step("join the shards of an observation", "vovnet.inference.shards", reads="observe"),
    "import": Step(
        "read the logs of other programs as observations",
        "vovnet.data.importing",
        reads="imported",
    ),
    "match": Step(
        "read the action ratios that a random policy copies", "vovnet.evaluation.match", (POLICIES,)
    ),
    "evaluate": Step(
        "score an experiment from stored observations", "vovnet.evaluation.experiment", SCORED
    ),
    "live": Step("run an experiment sample by sample", "vovnet.inference.live", (*MODEL, *SCORED)),
    "error_slices": Step(
        "tell where an experiment errs", "vovnet.evaluation.error_slices", SCORED, reads="match"
    ),
    "reliability": Step(
        "report errors and fallbacks", "vovnet.report.reliability", SCORED, discovers=True
    ),
    "ablation_table": Step(
        "compare ablations with the default", "vovnet.report.ablations", SCORED, discovers=True
    ),
    "hull_metrics": Step(
        "compare with the mixing hull", "vovnet.evaluation.hull_metrics", SCORED, reads="shown"
    ),
    "tables": Step(
        "write the paper's tables", "vovnet.report.tables", reads="shown", discovers=True
    ),
    "figures": Step(
        "draw the paper's figures", "vovnet.report.figures", reads="shown", discovers=True
    ),
    "sanity": Step("check the results", "vovnet.report.checks", reads="shown", discovers=True),
    "page": Step(
        "write the report as one page for a browser", "vovnet.report.page", SCORED, reads="shown"
    ),
    "paper_pdf": Step(
        "compile a document of tables and figures (TeX)", "vovnet.report.document", reads="shown"
    ),
    "bench": Step("measure what observing once saves", "vovnet.commands.bench", (*MODEL, *SCORED)),
    "bench_gpu": Step("measure what a GPU does with the model", "vovnet.commands.bench_gpu", MODEL),
}
"""By name, which is also that of the command."""
