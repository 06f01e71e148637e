# The jobs of a plan, asleep. Run by `vovnet plan --rehearse`: see rehearse.py beside this file.

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
    # Holds the run time before the job has run: what the scheduler plugin goes by.
    benchmark:
        "benchmarks/{job}.tsv"
    threads: lambda wildcards: jobs[wildcards.job]["cores"]
    resources:
        gpu=lambda wildcards: jobs[wildcards.job]["gpus"],
    params:
        seconds=lambda wildcards: jobs[wildcards.job]["seconds"],
    shell:
        "began=$EPOCHREALTIME; sleep {params.seconds}; echo $began $EPOCHREALTIME > {output}"
