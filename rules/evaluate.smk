# Decisions over stored observations: seconds per experiment, no model. Live experiments run
# the model sample by sample instead, for timings, with nothing beside them; their answers are
# scored by the same rule.


rule match:
    input:
        plan.match_inputs,
    output:
        plan.matched_file("{experiment}"),
    log:
        plan.log("match", "{experiment}"),
    benchmark:
        plan.benchmark("match", "{experiment}")
    wildcard_constraints:
        experiment=plan.matched_pattern,
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("light")
    resources:
        **plan.resources("light"),
    params:
        config=plan.config("match"),
        code=plan.code("match"),
    shell:
        "python -m vovnet match --config {params.config:q} --experiment {wildcards.experiment}"
        " > {log:q} 2>&1"


rule evaluate:
    input:
        plan.evaluate_inputs,
    output:
        plan.result_files("{experiment}"),
    log:
        plan.log("evaluate", "{experiment}"),
    benchmark:
        plan.benchmark("evaluate", "{experiment}")
    wildcard_constraints:
        experiment=plan.pattern("replay", "live"),
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("light")
    resources:
        **plan.resources("light"),
    params:
        config=plan.config("evaluate"),
        code=plan.code("evaluate"),
    shell:
        "python -m vovnet evaluate --config {params.config:q}"
        " --experiment {wildcards.experiment} > {log:q} 2>&1"


rule error_slices:
    input:
        plan.slice_inputs,
    output:
        plan.slice_files("{experiment}"),
    log:
        plan.log("error_slices", "{experiment}"),
    benchmark:
        plan.benchmark("error_slices", "{experiment}")
    wildcard_constraints:
        experiment=plan.sliced_pattern,
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("light")
    resources:
        **plan.resources("light"),
    params:
        config=plan.config("error_slices"),
        code=plan.code("error_slices"),
    shell:
        "python -m vovnet error_slices --config {params.config:q}"
        " --experiment {wildcards.experiment} > {log:q} 2>&1"


rule live:
    input:
        plan.live_inputs,
    output:
        plan.live_files("{experiment}"),
    log:
        plan.log("live", "{experiment}"),
    benchmark:
        plan.benchmark("live", "{experiment}")
    wildcard_constraints:
        experiment=plan.pattern("live"),
    retries: 1
    conda:
        "../envs/environment.yaml"
    threads: cores_alone
    resources:
        **plan.resources("observe", alone=True),
    params:
        config=plan.config("live"),
        code=plan.code("live", plan.live_views),
        launcher=plan.timed("live", "{experiment}"),
    shell:
        "{params.launcher} live --config {params.config:q} --experiment {wildcards.experiment}"
        " > {log:q} 2>&1"
