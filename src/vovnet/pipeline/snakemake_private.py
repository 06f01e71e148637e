"""Every interface of Snakemake that the project uses although it is not a public one.

Tried with Snakemake 9.27. Another release may have changed any of it; what is replaced here must
at least exist, and the tests of what runs again show whether it still does what it did.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from snakemake import common, rules
from snakemake.api import SnakemakeApi  # first: Snakemake's DAG cannot be imported before it
from snakemake.dag import DAG
from snakemake.persistence import ParamsChange, PersistenceBase
from snakemake.persistence.file import FilePersistence
from snakemake.settings.enums import Quietness
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

# The originals: a Snakefile may be read more than once in a process.
_function_parameters = common.get_function_params
_update_needrun = DAG.update_needrun
_init_records = FilePersistence.__init__
_known = PersistenceBase.has_metadata
_params_changed = PersistenceBase.params_changed


# ---- what runs again -------------------------------------------------------------------


def compare_behind_ancient_files() -> None:
    """Let Snakemake look at the jobs behind one that must run, where they wait for it only.

    It does not compare any job that depends on a job which must run, since that one will run
    in any case. Where all files between the two are `ancient` it will not, and is then never
    looked at: behind the leakage gate everything was left as it was.
    """

    async def update_needrun(dag: Any, *args: Any, **options: Any) -> Any:
        dag.bfs = lambda direction, *jobs: _reached(dag, direction, jobs)
        try:
            return await _update_needrun(dag, *args, **options)
        finally:
            del dag.bfs

    DAG.update_needrun = update_needrun


def _reached(dag: Any, direction: Any, jobs: Sequence[Any]) -> Iterator[Any]:
    """The jobs that must run because `jobs` do, as DAG.bfs, but not over ancient files."""
    waiting, seen = deque(jobs), set(jobs)
    while waiting:
        job = waiting.popleft()
        yield job
        for other, files in direction[job].items():
            if other not in seen and not all(file.is_ancient for file in files):
                seen.add(other)
                waiting.append(other)


def keep_records_in(folder: Path) -> None:
    """Keep Snakemake's records of finished jobs in `folder`, so that they are copied with results.

    They hold parameters and the hashes of inputs; without them only the times of files count.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def init(records: Any, *args: Any, **options: Any) -> None:
        _init_records(records, *args, **options)
        records._metadata_path = str(folder)

    FilePersistence.__init__ = init


def run_again_where(
    made_by_another: Callable[[Sequence[str], str, str | None], bool],
    inputs_changed: Callable[[Any], bool],
) -> None:
    """Run a job again whose outputs another recipe has made, or whose inputs are others by now.

    The first is asked with a job's outputs and its parameters `config` and `code`; without the code
    where Snakemake has a record of the job, which then decides about the code: `--touch` accepts
    results after an edit that changes none. The second is asked with the job itself, about inputs
    that are too many to be told to Snakemake.
    """

    def foreign(records: Any, job: Any) -> bool:
        config, code = (job.params.get(name) for name in ("config", "code"))
        if config is None or code is None:
            return False
        known = _known(records, job)
        another = made_by_another(list(job.output), config, None if known else code)
        return another or inputs_changed(job)

    def has_metadata(records: Any, job: Any) -> bool:
        return _known(records, job) or foreign(records, job)

    def params_changed(records: Any, job: Any, file: Any = None) -> Any:
        changed = _params_changed(records, job, file)
        if changed or file is not None or not foreign(records, job):
            return changed
        before, now = {"another recipe or other inputs"}, {"those of the configuration"}
        return ParamsChange(before, now, set(job.output))

    PersistenceBase.has_metadata = has_metadata
    PersistenceBase.params_changed = params_changed


def refuse_unknown_names(workflow: Any, check: Callable[[str, set[str]], None]) -> None:
    """Ask `check` about each target that is no rule; it has the names of the rules beside it.

    Snakemake itself says of a misspelt target that an input function may have failed.
    """
    is_rule = workflow.is_rule

    def asked(name: str) -> bool:
        known = bool(is_rule(name))
        if not known:
            check(name, {rule.name for rule in workflow.rules})
        return known

    workflow.is_rule = asked


# ---- a workflow that is read or runs ---------------------------------------------------


def look_at_functions_once() -> None:
    """Let Snakemake look up once which parameters an input function has, and not for each job."""
    common.get_function_params = rules.get_function_params = cache(_function_parameters)


def runs_jobs_itself(workflow: Any) -> bool:
    """Whether this process starts jobs, and on this machine."""
    return bool(workflow.is_main_process and workflow.nodes is None)


def executor_name(workflow: Any) -> str:
    return str(workflow.executor_plugin.name)


def executor_run_id(workflow: Any) -> str:
    """The name of a cluster's jobs in its queue."""
    return str(workflow.scheduler._executor.run_uuid)


def rules_to_run(workflow: Any) -> set[str]:
    return {job.rule.name for job in workflow.dag.needrun_jobs()}


def declared(workflow: Any, resource: str) -> dict[str, Any]:
    """Rule -> how much of a resource it asks for, of the rules that do."""
    rules = {rule.name: rule.resources for rule in workflow.rules}
    return {name: asked[resource].value for name, asked in rules.items() if resource in asked}


def limit_of(workflow: Any, resource: str) -> int | None:
    """The limit from the command line or a profile."""
    limits = workflow.global_resources
    return limits[resource].value if resource in limits else None


def set_limit(workflow: Any, resource: str, amount: int) -> None:
    workflow.register_resource(resource, amount)
    # The scheduler is there already, and counts what it knew of when it was made.
    workflow.scheduler.global_resources[resource] = amount


def tell_of_finished_jobs(workflow: Any) -> None:
    """Let the display of running jobs know which have ended, with `--quiet` too.

    Snakemake tells nobody then. Its own display leaves out what it is not to show in any case.
    """
    workflow.scheduler.print_progress = True


# ---- a workflow that is only looked at -------------------------------------------------


@contextlib.contextmanager
def planned_dag(
    targets: Sequence[str],
    configfiles: Sequence[Path],
    everything: bool,
    cores: int,
    overrides: Mapping[str, Any] | None = None,
) -> Iterator[Any]:
    """The DAG behind `targets` of the Snakefile here, as `snakemake --dag` builds it.

    `overrides` are what `--config` would say.
    """
    with (
        Path(os.devnull).open("w") as sink,
        contextlib.redirect_stderr(sink),
        SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api,
    ):
        workflow = api.workflow(
            ResourceSettings(cores=cores),
            ConfigSettings(config=dict(overrides or {}), configfiles=list(configfiles)),
        )
        dag_api = workflow.dag(DAGSettings(targets=set(targets), forceall=everything))
        # The interface itself only prints.
        built = dag_api.workflow_api._workflow
        built._prepare_dag(forceall=everything, ignore_incomplete=True, lock_warn_only=True)
        built._build_dag()
        yield built.dag


def settings_of(dag: Any) -> Any:
    """The settings that the Snakefile of a DAG made its `plan` of."""
    return dag.workflow.globals["plan"].settings


def own_schedulers() -> dict[str, tuple[type, Any]]:
    """The name of each scheduler that comes with Snakemake -> its class and default settings."""
    from snakemake.scheduling import greedy, milp

    return {
        "ilp": (milp.Scheduler, milp.SchedulerSettings()),
        "greedy": (greedy.Scheduler, greedy.SchedulerSettings()),
    }
