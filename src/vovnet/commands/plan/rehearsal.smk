# The jobs of a plan, which only sleep. `vovnet plan --rehearse` runs this file (runs.py).

jobs = config["jobs"]


rule all:
    input:
        expand("ended/{job}", job=jobs),


# A job writes when it began and when it ended, in seconds since the epoch.
rule asleep:
    input:
        lambda wildcards: expand("ended/{need}", need=jobs[wildcards.job]["needs"]),
    output:
        "ended/{job}",
    # The file exists before the job runs and tells the scheduler plugin its run time.
    benchmark:
        "benchmarks/{job}.tsv"
    threads: lambda wildcards: jobs[wildcards.job]["cores"]
    resources:
        gpu=lambda wildcards: jobs[wildcards.job]["gpus"],
    params:
        seconds=lambda wildcards: jobs[wildcards.job]["seconds"],
    shell:
        "began=$EPOCHREALTIME; sleep {params.seconds}; echo $began $EPOCHREALTIME > {output}"
