# Ratios measured side by side, printed and written; no part of `all`. Nothing runs beside the job;
# torch has the threads of bench.num_threads.


rule bench:
    input:
        plan.bench_inputs,
    output:
        plan.bench_files,
    log:
        plan.log("bench"),
    conda:
        "../envs/environment.yaml"
    threads: cores_alone
    resources:
        **plan.resources("observe", alone=True),
    params:
        config=plan.config("bench"),
        code=plan.code("bench"),
        launcher=plan.leased("bench"),
    shell:
        "{params.launcher} bench --config {params.config:q} 2> {log:q}"


# What one of the machine's GPUs does with the configured model; it needs no input.
rule bench_gpu:
    output:
        plan.bench_gpu_files,
    log:
        plan.log("bench_gpu"),
    conda:
        "../envs/environment.yaml"
    threads: cores_alone
    resources:
        **plan.resources("observe", alone=True),
    params:
        config=plan.config("bench_gpu"),
        code=plan.code("bench_gpu"),
        launcher=plan.leased("bench_gpu"),
        folder=plan.layout.bench_gpu,
    shell:
        "{params.launcher} bench_gpu --config {params.config:q} --output {params.folder:q} 2> {log:q}"
