# Raw files to unified samples, and the gate that stands before training.

for dataset in plan.synthetic:

    rule:
        name:
            f"synthesize_{dataset}"
        output:
            plan.raw_files(dataset),
            manifest=plan.raw_manifest(dataset),
        log:
            plan.log("synthesize", dataset),
        benchmark:
            plan.benchmark("synthesize", dataset)
        conda:
            "../envs/environment.yaml"
        threads: plan.threads("light")
        resources:
            **plan.resources("light"),
        params:
            config=plan.config("synthesize", dataset=dataset),
            code=plan.code("synthesize", dataset=dataset),
            dataset=dataset,
        shell:
            "python -m vovnet synthesize --config {params.config:q} --dataset {params.dataset:q}"
            " > {log:q} 2>&1"


for dataset in plan.remote:

    rule:
        name:
            f"fetch_{dataset}"
        output:
            manifest=plan.raw_manifest(dataset),
        log:
            plan.log("fetch", dataset),
        # Compute nodes often reach no network.
        localrule: True
        conda:
            "../envs/environment.yaml"
        threads: plan.threads("light")
        resources:
            **plan.resources("light"),
        params:
            config=plan.config("fetch", dataset=dataset),
            code=plan.code("fetch", dataset=dataset),
            dataset=dataset,
        shell:
            "python -m vovnet fetch --config {params.config:q} --dataset {params.dataset:q}"
            " > {log:q} 2>&1"


rule prepare:
    input:
        plan.prepare_inputs,
    output:
        samples=ensure(layout.samples("{dataset}", "{split}"), non_empty=True),
        manifest=layout.data_manifest("{dataset}", "{split}"),
    log:
        plan.log("prepare", "{dataset}", "{split}"),
    benchmark:
        plan.benchmark("prepare", "{dataset}", "{split}")
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("light")
    resources:
        **plan.resources("light", streams=True),
    params:
        **plan.call("prepare"),
        raw=plan.raw_digest,
    shell:
        "python -m vovnet prepare --config {params.config:q}"
        " --dataset {wildcards.dataset} --split {wildcards.split} > {log:q} 2>&1"


rule leakage:
    input:
        plan.all_samples,
    output:
        layout.leakage_report,
        plan.left_out,
    log:
        plan.log("leakage"),
    benchmark:
        plan.benchmark("leakage")
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("light")
    resources:
        **plan.resources("light", streams=True),
    params:
        config=plan.config("leakage"),
        code=plan.code("leakage"),
    shell:
        "python -m vovnet leakage --config {params.config:q} > {log:q} 2>&1"
