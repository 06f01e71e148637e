# What is reported: comparison with the mixing hull, tables, figures, sanity checks. Once for the
# paper and, where that shows a part of the experiments, once more for the whole suite. Every rule
# takes from the first what they have in common: a light command, called with a configuration.


rule hull_metrics:
    input:
        plan.hull_inputs,
    output:
        plan.hull_files("{report}"),
    log:
        plan.log("hull_metrics", "{report}"),
    benchmark:
        plan.benchmark("hull_metrics", "{report}")
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("light")
    resources:
        **plan.resources("light"),
    params:
        **plan.call("hull_metrics"),
    shell:
        "python -m vovnet {params.command} --config {params.config:q} > {log:q} 2>&1"


use rule hull_metrics as tables with:
    input:
        plan.report_inputs,
    output:
        report(
            plan.table_files("{report}"),
            caption="../workflow/report/tables.rst",
            category="Tables",
        ),
    log:
        plan.log("tables", "{report}"),
    benchmark:
        plan.benchmark("tables", "{report}")
    params:
        **plan.call("tables"),


use rule hull_metrics as figures with:
    input:
        plan.report_inputs,
        plan.training_logs,
    output:
        report(
            directory(plan.figure_folder("{report}")),
            patterns=["{name}.png"],
            caption="../workflow/report/figures.rst",
            category="Figures",
            labels={"figure": "{name}", "report": "{report}"},
        ),
    log:
        plan.log("figures", "{report}"),
    benchmark:
        plan.benchmark("figures", "{report}")
    params:
        **plan.call("figures"),


use rule hull_metrics as sanity with:
    input:
        plan.report_inputs,
        plan.training_logs,
        # Their hashes are checked, so that they must be there; they may be made again without it.
        tables=ancient(plan.table_files("{report}")[0]),
        figures=ancient(plan.figure_folder("{report}")),
        leakage=layout.leakage_report,
    output:
        report(
            plan.sanity_files("{report}"),
            caption="../workflow/report/sanity.rst",
            category="Sanity checks",
        ),
    log:
        plan.log("sanity", "{report}"),
    benchmark:
        plan.benchmark("sanity", "{report}")
    params:
        **plan.call("sanity"),


use rule hull_metrics as page with:
    input:
        plan.page_inputs,
    output:
        plan.page_file("{report}"),
    log:
        plan.log("page", "{report}"),
    benchmark:
        plan.benchmark("page", "{report}")
    params:
        **plan.call("page"),
        template=plan.page_template,


use rule hull_metrics as document with:
    input:
        plan.pdf_inputs,
    output:
        plan.pdf_file("{report}"),
    log:
        plan.log("paper_pdf", "{report}"),
    benchmark:
        plan.benchmark("paper_pdf", "{report}")
    params:
        **plan.call("paper_pdf"),


if plan.reliability:

    use rule hull_metrics as reliability_report with:
        input:
            plan.reliability_inputs,
        output:
            report(
                plan.reliability_files("{report}"),
                caption="../workflow/report/reliability.rst",
                category="Reliability",
            ),
        log:
            plan.log("reliability", "{report}"),
        benchmark:
            plan.benchmark("reliability", "{report}")
        wildcard_constraints:
            report="|".join(plan.reliability),
        params:
            **plan.call("reliability"),


if plan.ablation_files:

    use rule hull_metrics as ablation_table with:
        input:
            plan.ablation_inputs,
        output:
            report(
                plan.ablation_files,
                caption="../workflow/report/ablations.rst",
                category="Tables",
            ),
        log:
            plan.log("ablation_table"),
        benchmark:
            plan.benchmark("ablation_table")
        params:
            **plan.call("ablation_table"),
