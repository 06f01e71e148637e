# The expensive inference, once per run, seed and set, scattered over eval.num_shards jobs.
# As in training, a shard's manifest is its only output, so that its pieces can be resumed.


rule observe:
    input:
        plan.set_samples,
        checkpoint=plan.stage2,
    output:
        plan.shard("{run}", "{seed}", "{eval_set}", "{part}", "{parts}"),
    log:
        plan.log("observe", "{run}", "seed{seed}", "{eval_set}", "{part}-of-{parts}"),
    benchmark:
        plan.benchmark("observe", "{run}", "seed{seed}", "{eval_set}", "{part}-of-{parts}")
    retries: 1
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("observe")
    resources:
        **plan.resources("observe"),
    params:
        config=plan.config("observe"),
        code=plan.code("observe"),
        launcher=plan.leased("observe", "{run}", "seed{seed}", "{eval_set}", "{part}-of-{parts}"),
    shell:
        "{params.launcher} observe --config {params.config} --run {wildcards.run}"
        " --seed {wildcards.seed} --dataset {wildcards.eval_set}"
        " --shard {wildcards.part}/{wildcards.parts} > {log} 2>&1"


rule gather:
    input:
        plan.shards,
    output:
        plan.observation("{run}", "{seed}", "{eval_set}"),
        timings=plan.timings("{run}", "{seed}", "{eval_set}"),
    log:
        plan.log("gather", "{run}", "seed{seed}", "{eval_set}"),
    benchmark:
        plan.benchmark("gather", "{run}", "seed{seed}", "{eval_set}")
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("light")
    resources:
        **plan.resources("light"),
    params:
        config=plan.config("observe"),
        code=plan.code("gather"),
    shell:
        "python -m vovnet gather --config {params.config} --run {wildcards.run}"
        " --seed {wildcards.seed} --dataset {wildcards.eval_set} > {log} 2>&1"


# Reduced views are observed apart, so that an experiment with a new one leaves the actions
# alone; of a shard, only the views that are missing are run. Their tables lie beside the
# manifest, which is written last.


rule observe_views:
    input:
        plan.set_samples,
        checkpoint=plan.stage2,
    output:
        plan.view_shard("{run}", "{seed}", "{eval_set}", "{part}", "{parts}"),
    log:
        plan.log("observe_views", "{run}", "seed{seed}", "{eval_set}", "{part}-of-{parts}"),
    benchmark:
        plan.benchmark("observe_views", "{run}", "seed{seed}", "{eval_set}", "{part}-of-{parts}")
    retries: 1
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("observe")
    resources:
        **plan.resources("observe"),
    params:
        config=plan.config("observe"),
        code=plan.code("observe", plan.views),
        views=plan.views,
        launcher=plan.leased(
            "observe_views", "{run}", "seed{seed}", "{eval_set}", "{part}-of-{parts}"
        ),
    shell:
        "{params.launcher} observe --config {params.config} --run {wildcards.run}"
        " --seed {wildcards.seed} --dataset {wildcards.eval_set}"
        " --shard {wildcards.part}/{wildcards.parts} --views {params.views} > {log} 2>&1"


rule gather_views:
    input:
        plan.view_shards,
    output:
        layout.views_manifest("{run}", "{seed}", "{eval_set}"),
    log:
        plan.log("gather_views", "{run}", "seed{seed}", "{eval_set}"),
    benchmark:
        plan.benchmark("gather_views", "{run}", "seed{seed}", "{eval_set}")
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("light")
    resources:
        **plan.resources("light"),
    params:
        config=plan.config("observe"),
        code=plan.code("gather"),
        views=plan.views,
    shell:
        "python -m vovnet gather --config {params.config} --run {wildcards.run}"
        " --seed {wildcards.seed} --dataset {wildcards.eval_set} --views {params.views}"
        " > {log} 2>&1"
