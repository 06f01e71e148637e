"""Snakemake that asks a cluster for the states of its jobs as often as it was told.

    python attentive_snakemake.py --profile slurm --seconds-between-status-checks 1 ...

While no job ends, the Slurm plugin asks ten seconds later from one time to the next. That spares a
cluster, and a test of short jobs would spend most of its time in that wait.
"""

from __future__ import annotations

from snakemake import cli
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


def told(executor: RemoteExecutor) -> int:
    seconds: int = executor.workflow.remote_execution_settings.seconds_between_status_checks
    return seconds


if __name__ == "__main__":
    postponed = RemoteExecutor.next_seconds_between_status_checks
    assert isinstance(postponed, property)
    RemoteExecutor.next_seconds_between_status_checks = property(told, lambda executor, later: None)
    cli.main()
