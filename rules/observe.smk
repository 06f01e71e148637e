# The expensive inference, once per run, seed and set, scattered over eval.num_shards jobs.
# {group} is `actions` (with the text pass) or `views`: further views are observed apart, so that
# an experiment with a new one leaves the actions alone. Of a group only the tables that are missing
# are made. As in training, a manifest is the only output, so that what is there can be kept; it is
# written last, and the tables lie beside it.


rule observe:
    input:
        plan.set_samples,
        checkpoint=plan.checkpoint,
    output:
        plan.shard("{run}", "{seed}", "{eval_set}", "{group}", "{part}", "{parts}"),
    log:
        plan.log("observe", "{run}", "seed{seed}", "{eval_set}", "{group}", "{part}-of-{parts}"),
    benchmark:
        plan.benchmark(
            "observe", "{run}", "seed{seed}", "{eval_set}", "{group}", "{part}-of-{parts}"
        )
    retries: 1
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("observe")
    resources:
        **plan.resources("observe"),
    params:
        config=plan.config("observe"),
        code=plan.code("observe", plan.views),
        views=plan.further_views,
        launcher=plan.leased(
            "observe", "{run}", "seed{seed}", "{eval_set}", "{group}", "{part}-of-{parts}"
        ),
    shell:
        "{params.launcher} observe --config {params.config:q} --run {wildcards.run}"
        " --seed {wildcards.seed} --dataset {wildcards.eval_set}"
        " --shard {wildcards.part}/{wildcards.parts} {params.views} > {log:q} 2>&1"


# What another program answered takes the place of both.
ruleorder: import_logs > gather


rule import_logs:
    input:
        plan.set_samples,
    output:
        plan.observation("{run}", "{seed}", "{eval_set}", "{group}"),
    log:
        plan.log("import_logs", "{run}", "seed{seed}", "{eval_set}", "{group}"),
    benchmark:
        plan.benchmark("import_logs", "{run}", "seed{seed}", "{eval_set}", "{group}")
    wildcard_constraints:
        run=plan.imported_pattern,
    localrule: True
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("light")
    resources:
        **plan.resources("light"),
    params:
        config=plan.config("import"),
        code=plan.code("import", plan.views),
        views=plan.further_views,
        logs=plan.log_digest,
    shell:
        "python -m vovnet import --config {params.config:q} --run {wildcards.run}"
        " --seed {wildcards.seed} --dataset {wildcards.eval_set} {params.views} > {log:q} 2>&1"


rule gather:
    input:
        plan.shards,
    output:
        plan.observation("{run}", "{seed}", "{eval_set}", "{group}"),
    log:
        plan.log("gather", "{run}", "seed{seed}", "{eval_set}", "{group}"),
    benchmark:
        plan.benchmark("gather", "{run}", "seed{seed}", "{eval_set}", "{group}")
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("light")
    resources:
        **plan.resources("light"),
    params:
        config=plan.config("observe"),
        code=plan.code("gather", plan.views),
        views=plan.further_views,
    shell:
        "python -m vovnet gather --config {params.config:q} --run {wildcards.run}"
        " --seed {wildcards.seed} --dataset {wildcards.eval_set} {params.views} > {log:q} 2>&1"


if not config.get("standalone"):

    # A suite of its own: what another program measured, in results/imported.
    rule imported:
        log:
            plan.log("imported"),
        localrule: True
        conda:
            "../envs/environment.yaml"
        threads: plan.threads("light")
        resources:
            **plan.resources("light"),
        shell:
            "python -m snakemake paper_tables --configfile config/imported.yaml"
            " 2>&1 | tee {log:q}"
