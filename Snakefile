# The experiments as a DAG. Targets: all (the default), paper_tables, paper_pdf, and the name of
# every experiment and of every list under `targets` in the configuration, such as mvp.
#
#   snakemake                                      everything in config/config.yaml
#   snakemake paper_tables --config quick=200      at most 200 samples of each set
#   snakemake mvp --configfile config/test.yaml
#   snakemake --force bench                        ratios measured on this machine, on their own
#   snakemake --force bench_gpu                    what its GPU does with the configured model
#   snakemake tiny_model --configfile config/pretrain.yaml    how the packaged model was made
#
# A --configfile is layered on config/config.yaml, and may add experiments to it; one that says
# `standalone: true` is a suite of its own.

from snakemake.utils import min_version

from vovnet.core.layout import PAPER
from vovnet.pipeline import snakemake_private as private
from vovnet.pipeline.claims import made_by_another
from workflow import machine
from workflow.boundary import ends_in_one_line
from workflow.plan import check_default, check_target, make_plan

min_version("9.0")

if not config.get("standalone"):
    check_default("config/config.yaml")

    configfile: "config/config.yaml"


plan = make_plan(config, workflow.configfiles)
layout = plan.layout


private.look_at_functions_once()
private.compare_behind_ancient_files()
with ends_in_one_line():
    private.keep_records_in(layout.provenance / "jobs")
private.run_again_where(made_by_another, plan.images_changed)


onstart:
    private.tell_of_finished_jobs(workflow)
    on_slurm = private.executor_name(workflow) == "slurm"
    if on_slurm:
        machine.check_slurm()
    if is_local and not workflow.touch:
        asking = private.rules_to_run(workflow) & set(declared_gpus)
        found = machine.check_gpus({rule: declared_gpus[rule] for rule in asking})
        if asking and gpu_limit is None:
            private.set_limit(workflow, "gpu", found)
    with ends_in_one_line():
        machine.lock(layout.root)
    if on_slurm:
        machine.check_earlier_jobs(layout.root, private.executor_run_id(workflow))


wildcard_constraints:
    dataset=r"[\w.-]+",
    split=r"[\w.-]+",
    run=r"[\w.-]+",
    seed=r"\d+",
    eval_set=r"[\w.-]+",
    group="actions|views",
    experiment=r"[\w.-]+",
    part=r"\d+",
    parts=r"\d+",
    report="|".join(plan.reports),


localrules:
    all,
    paper_tables,
    paper_pdf,
    document,
    gather,
    match,
    tables,
    figures,
    sanity,
    page,
    reliability_report,
    ablation_table,


rule all:
    input:
        layout.leakage_report,
        plan.results(plan.settings.experiments),
        plan.report_files(),
        plan.reliability_of(plan.reports),
        plan.ablation_files,


rule paper_tables:
    input:
        plan.report_files(PAPER),


# The tables and figures of paper_tables as one document; needs TeX.
rule paper_pdf:
    input:
        plan.pdf_file(PAPER),


# Jobs on this machine share its GPUs; those of a cluster are counted by the cluster.
is_local = private.runs_jobs_itself(workflow)

# A timed job on this machine takes every core, so that nothing runs beside it.
cores_alone = (is_local and workflow.cores) or plan.threads("observe")


include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/pretrain.smk"
include: "rules/observe.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"
include: "rules/bench.smk"


# Every experiment and every list of the configuration by its name.
for name, files in plan.named_targets({rule.name for rule in workflow.rules}).items():

    rule:
        name:
            name
        input:
            files,
        localrule: True


# From here on every rule is there.
private.refuse_unknown_names(workflow, check_target)


declared_gpus = private.declared(workflow, "gpu")
gpu_limit = private.limit_of(workflow, "gpu")
if gpu_limit is not None:
    machine.check_gpus(declared_gpus, gpu_limit)
