# Ratios measured side by side, printed and written; no part of `all`. The job takes every core,
# so that nothing runs beside it; torch has the threads of bench.num_threads.


rule bench:
    input:
        plan.bench_inputs,
    output:
        plan.bench_files,
    log:
        plan.log("bench"),
    conda:
        "../envs/environment.yaml"
    threads: workflow.cores or 1
    resources:
        **plan.resources("observe"),
    params:
        config=plan.config("bench"),
        code=plan.code("bench"),
        launcher=plan.leased("bench"),
    shell:
        "{params.launcher} bench --config {params.config} 2> {log}"
