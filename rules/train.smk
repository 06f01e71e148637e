# Two stages per run and seed. Only the manifest, which a stage writes last, is an output:
# Snakemake removes the outputs of a failed job, and checkpoints must survive to be resumed.
# The gate is `ancient`: it must have passed, but a new evaluation set does not train again.


rule train_stage1:
    input:
        plan.train_inputs,
        leakage=ancient(layout.leakage_report),
    output:
        plan.stage("{run}", "{seed}", 1),
    log:
        plan.log("train", "{run}", "seed{seed}", "stage1"),
    benchmark:
        plan.benchmark("train", "{run}", "seed{seed}", "stage1")
    retries: 1
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("train")
    resources:
        **plan.resources("train"),
    params:
        **plan.call("train", stage=1),
        base_model=plan.base_model,
        launcher=plan.launcher("train", "{run}", "seed{seed}", "stage1"),
    shell:
        "{params.launcher} train --config {params.config:q} --run {wildcards.run}"
        " --seed {wildcards.seed} --stage 1 --in_place > {log:q} 2>&1"


rule train_stage2:
    input:
        plan.train_inputs,
        stage1=plan.stage1,
        leakage=ancient(layout.leakage_report),
    output:
        plan.stage("{run}", "{seed}", 2),
    log:
        plan.log("train", "{run}", "seed{seed}", "stage2"),
    benchmark:
        plan.benchmark("train", "{run}", "seed{seed}", "stage2")
    retries: 1
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("train")
    resources:
        **plan.resources("train"),
    params:
        **plan.call("train", stage=2),
        base_model=plan.base_model,
        launcher=plan.launcher("train", "{run}", "seed{seed}", "stage2"),
    shell:
        "{params.launcher} train --config {params.config:q} --run {wildcards.run}"
        " --seed {wildcards.seed} --stage 2 --in_place > {log:q} 2>&1"
