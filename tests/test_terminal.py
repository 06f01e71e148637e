"""What a run shows on a terminal of 100 columns."""

from __future__ import annotations

import inspect
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

import snakemake_logger_plugin_vovnet as plugin
from snakemake_logger_plugin_vovnet import LogHandler
from support.repository import ROOT
from vovnet.config.layers import read_yaml
from vovnet.pipeline import snakemake_private

COUNT = 69
"""The jobs of `paper_tables`."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """What stays on it, the display of running jobs aside."""
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())
        return [line for line in plain.split("\n") if line.strip()]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Terminal]:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.chdir(tmp_path)
    shown = Terminal()
    monkeypatch.setattr(plugin, "sys", SimpleNamespace(stderr=shown))
    yield shown


def handler(**changes: Any) -> LogHandler:
    off = ("printshellcmds", "nocolor", "debug_dag", "verbose", "stdout", "dryrun")
    settings = dict.fromkeys(off, False) | {"quiet": None, "show_failed_logs": True} | changes
    made = LogHandler(SimpleNamespace(**settings), None)
    # The display is drawn where it is asked for, so that it does not hide what stays.
    made.console.is_interactive = False
    return made


def tell(made: LogHandler, event: LogEvent | None, message: str = "", **facts: Any) -> None:
    record = logging.LogRecord(
        "snakemake", facts.pop("level", logging.INFO), "", 0, message, (), None
    )
    vars(record).update(event=event, **facts)
    made.handle(record)


def begin(made: LogHandler, jobid: int) -> None:
    log = Path(f"logs/observe/{jobid}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    done = "".join(f"observing blocks: {n}/300, 10.2/s, {300 - n} s left\n" for n in range(100))
    log.write_text(done + "vovnet: error: it is \x1b[31mbroken\n")
    wildcards = {"run": "vovnet", "seed": str(jobid), "eval_set": "synth_textvqa" * 9}
    facts = {"jobid": jobid, "rule_name": "observe", "wildcards": wildcards, "log": [str(log)]}
    tell(made, LogEvent.JOB_INFO, input=["x" * 27000], **facts)


def fail(made: LogHandler, jobid: int) -> None:
    what = "RuleException:\nCalledProcessError in file Snakefile: Command '...' returned 2."
    tell(made, None, what, level=logging.ERROR)
    tell(made, LogEvent.JOB_ERROR, level=logging.ERROR, jobid=jobid, rule_name="observe")


def run(made: LogHandler) -> None:
    """A run as Snakemake tells it."""
    for noise in ("host: here", "Building DAG of jobs...", "Provided cores: 2", "Job stats:\n..."):
        tell(made, None, noise)
    rules = {f"rule_{n}": 3 for n in range(COUNT // 3)}
    tell(made, LogEvent.RUN_INFO, "Job stats", stats=rules | {"total": COUNT})
    for jobid in range(COUNT):
        tell(made, None, "Select jobs to execute...")
        tell(made, None, "Execute 1 jobs...")
        begin(made, jobid)
        tell(made, LogEvent.SHELLCMD, "python -m vovnet")
        tell(made, LogEvent.JOB_FINISHED, f"Finished jobid: {jobid}", job_id=jobid)
        tell(made, LogEvent.PROGRESS, done=jobid, total=COUNT)
    tell(made, None, "Complete log(s): x")
    made.close()


@pytest.mark.parametrize(("quiet", "most"), [(None, 150), (["progress", "rules"], 40)])
def test_a_whole_run_takes_few_lines(
    terminal: Terminal, quiet: list[str] | None, most: int
) -> None:
    run(handler(quiet=quiet))
    assert all(len(line) <= 100 for line in terminal.lines[1:])
    assert sum(-(-len(line) // 100) for line in terminal.lines) <= most
    assert terminal.lines[-1].startswith(f"{COUNT} of {COUNT} jobs done in 0:00:")
    assert ("1/69 observe run=vovnet seed=0" in terminal.getvalue()) == (quiet is None)


def test_a_quiet_run_is_told_which_jobs_have_ended() -> None:
    """Snakemake's scheduler tells only where an attribute says so, which `--quiet` makes false."""
    from snakemake.scheduling.job_scheduler import JobScheduler  # after Snakemake's own start

    workflow = SimpleNamespace(scheduler=SimpleNamespace(print_progress=False))
    snakemake_private.tell_of_finished_jobs(workflow)
    assert workflow.scheduler.print_progress
    assert "if self.print_progress" in inspect.getsource(JobScheduler._finish_jobs)
    assert "tell_of_finished_jobs(workflow)" in (ROOT / "Snakefile").read_text()


def test_each_running_job_is_a_line_with_the_time_left(terminal: Terminal) -> None:
    made = handler()
    for jobid in (1, 2):
        begin(made, jobid)
    made.jobs[2].logs = ["gone.log"]
    made.jobs[1].name = "train run=vovnet"
    made.console.print(made._running())
    first, second, last = terminal.lines
    assert first == "0:00:00 train run=vovnet  observing blocks: 99/300, 10.2/s, 201 s left"
    assert second.startswith("0:00:00 observe run=vovnet seed=2") and len(second) == 100
    assert last == "0 of 0 jobs done in 0:00:00"


def test_a_failed_job_shows_the_end_of_its_log(terminal: Terminal) -> None:
    made = handler()
    begin(made, 1)
    fail(made, 1)
    assert terminal.lines[0].startswith("failed: observe run=vovnet seed=1")
    assert terminal.lines[1] == "the end of logs/observe/1.log:"
    assert terminal.lines[-1] == r"vovnet: error: it is \x1b[31mbroken"
    assert len(terminal.lines) == 32 and "\x1b[31mbroken" not in terminal.getvalue()


def test_what_jobs_say_does_not_command_the_terminal_and_is_shown_to_its_end(
    terminal: Terminal,
) -> None:
    made = handler()
    begin(made, 1)
    made.jobs[1].name = "train"
    log = Path(made.jobs[1].logs[0])
    log.write_text("\x1b[2Jblocks: 1/2, 1.0/s, 1 s left")
    made.console.print(made._running())
    assert terminal.lines[0] == r"0:00:00 train  \x1b[2Jblocks: 1/2, 1.0/s, 1 s left"
    fail(made, 1)
    assert terminal.lines[-1] == r"\x1b[2Jblocks: 1/2, 1.0/s, 1 s left"


def test_interrupting_takes_a_line_for_each_running_job(terminal: Terminal) -> None:
    made = handler()
    for jobid in range(4):
        begin(made, jobid)
    ending = "Terminating processes on user request, this might take some time."
    tell(made, None, ending, level=logging.WARNING)
    for jobid in range(4):
        fail(made, jobid)
    tell(made, None, "WorkflowError:\nAt least one job did not complete.", level=logging.ERROR)
    assert len(terminal.lines) == 5 and terminal.lines[4].startswith("ended: observe run=vovnet")


def test_a_dry_run_shows_the_numbers_of_jobs_and_the_reasons(terminal: Terminal) -> None:
    made = handler(dryrun=True)
    table = "Job stats:\njob  count\n---  -----\nall  1\n"
    tell(made, LogEvent.RUN_INFO, table, stats={"all": 1, "total": 1})
    begin(made, 1)
    tell(made, LogEvent.RUN_INFO, table, stats={"all": 1, "total": 1})
    tell(made, None, f"Reasons:{plugin.ABOVE}\n    code has changed:\n        all")
    made.close()
    assert terminal.lines == [
        *table.splitlines(),
        "Reasons:",
        "    code has changed:",
        "        all",
    ]


@pytest.mark.parametrize("change", [{"printshellcmds": True}, {"verbose": True}])
def test_all_that_snakemake_says_is_shown_where_it_is_asked_for(
    terminal: Terminal, change: dict[str, bool]
) -> None:
    assert handler().writes_to_stream and not handler(**change).writes_to_stream
    run(handler(**change))
    assert terminal.lines == []


def test_elsewhere_than_on_a_terminal_snakemake_writes_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugin, "sys", SimpleNamespace(stderr=io.StringIO()))
    assert not handler().writes_to_stream
    assert read_yaml(ROOT / "profiles/default/config.yaml")["logger"] == "vovnet"
