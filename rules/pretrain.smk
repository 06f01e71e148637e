# The tiny base model from nothing. The package brings the result along (see its README.md), so
# that no target needs this; the folder `work` keeps the phases of each recipe.


rule tiny_model:
    output:
        layout.tiny_model / "model.safetensors",
    log:
        plan.log("tiny_model"),
    benchmark:
        plan.benchmark("tiny_model")
    retries: 1
    conda:
        "../envs/environment.yaml"
    threads: plan.threads("observe")
    resources:
        **plan.resources("observe"),
    params:
        config=plan.config("pretrain"),
        code=plan.code("pretrain"),
        folder=layout.tiny_model,
        work=layout.root / "pretraining",
        launcher=plan.leased("tiny_model"),
    shell:
        "{params.launcher} pretrain --config {params.config:q} --work_dir {params.work:q}"
        " --output_dir {params.folder:q} > {log:q} 2>&1"
