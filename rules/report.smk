# What is reported: comparison with the mixing hull, tables, figures, sanity checks. Once for the
# paper and, where that shows a part of the experiments, once more for the whole suite.


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
        config=plan.config("hull_metrics"),
        code=plan.code("hull_metrics"),
    shell:
        "python -m vovnet hull_metrics --config {params.config} > {log} 2>&1"


rule tables:
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
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("light")
    resources:
        **plan.resources("light"),
    params:
        config=plan.config("tables"),
        code=plan.code("tables"),
    shell:
        "python -m vovnet tables --config {params.config} > {log} 2>&1"


rule figures:
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
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("light")
    resources:
        **plan.resources("light"),
    params:
        config=plan.config("figures"),
        code=plan.code("figures"),
    shell:
        "python -m vovnet figures --config {params.config} > {log} 2>&1"


rule sanity:
    input:
        plan.report_inputs,
        plan.training_logs,
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
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("light")
    resources:
        **plan.resources("light"),
    params:
        config=plan.config("sanity"),
        code=plan.code("sanity"),
    shell:
        "python -m vovnet sanity --config {params.config} > {log} 2>&1"


rule document:
    input:
        plan.pdf_inputs,
    output:
        plan.pdf_file("{report}"),
    log:
        plan.log("paper_pdf", "{report}"),
    benchmark:
        plan.benchmark("paper_pdf", "{report}")
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("light")
    resources:
        **plan.resources("light"),
    params:
        config=plan.config("paper_pdf"),
        code=plan.code("paper_pdf"),
    shell:
        "python -m vovnet paper_pdf --config {params.config} > {log} 2>&1"


if plan.sliced:

    rule reliability_report:
        input:
            plan.reliability_inputs,
        output:
            report(
                plan.reliability_files,
                caption="../workflow/report/reliability.rst",
                category="Reliability",
            ),
        log:
            plan.log("reliability"),
        benchmark:
            plan.benchmark("reliability")
        conda:
            "../envs/environment.yaml"
        threads: plan.threads("light")
        resources:
            **plan.resources("light"),
        params:
            config=plan.config("reliability"),
            code=plan.code("reliability"),
        shell:
            "python -m vovnet reliability --config {params.config} > {log} 2>&1"


if plan.ablation_files:

    rule ablation_table:
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
        conda:
            "../envs/environment.yaml"
        threads: plan.threads("light")
        resources:
            **plan.resources("light"),
        params:
            config=plan.config("ablation_table"),
            code=plan.code("ablation_table"),
        shell:
            "python -m vovnet ablation_table --config {params.config} > {log} 2>&1"
