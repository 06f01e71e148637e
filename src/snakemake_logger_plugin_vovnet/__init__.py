"""What a run shows on a terminal: a line for each running job, which tells how far it is.

Elsewhere, with --printshellcmds or with --verbose, Snakemake's own lines are shown, and all of them
are always in `.snakemake/log/`.
"""

import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from logging import WARNING, LogRecord
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from vovnet.core.files import last_lines
from vovnet.core.progress import TOLD
from vovnet.core.shown import printable

QUIET = {"all", "progress", "rules"}
"""What `--quiet` is told or, without a word, means: then nothing is told of jobs that go well."""

LEFT_OUT = re.compile(
    "Building DAG|Using |host:|Provided |Rules claiming|Select jobs|Execute |Assuming |Job stats"
    "|Conda env|Singularity|Finished job|Complete log|Trying to restart|None$|$"
    "|Loading trusted|Config file|DAG of jobs|Group jobs|Elapsed"
)
REPEATED = re.compile("RuleException:\nCalledProcessError|WorkflowError:\nAt least one job")
"""How messages begin that say nothing which the display does not."""

ENDING = re.compile("Terminating processes|Shutting down|Cancelling")
"""How messages begin after which jobs end because they were told to."""

ABOVE = "\n    (check individual jobs above for details)"
"""What Snakemake says of a list that is not shown."""

TAIL_BYTES, TAIL_LINES = 4096, 30
REFRESHES_PER_S = 1


@dataclass
class Job:
    """A running job, by its rule and wildcards."""

    name: str
    logs: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> str:
        return _clock(time.monotonic() - self.began)

    def tail(self) -> list[str]:
        """The last lines of its logs, as far as they are there."""
        return [line for path in self.logs for line in _end_of(Path(path))]

    def progress(self) -> str:
        """What it last told of its progress."""
        return next(filter(TOLD.fullmatch, reversed(self.tail())), "")


class LogHandler(LogHandlerBase):
    """Shows the records of a run; the queue of Snakemake calls it from one thread."""

    def __post_init__(self) -> None:
        settings = self.common_settings
        stream = sys.stdout if settings.stdout else sys.stderr
        self.console = Console(file=stream, no_color=settings.nocolor, highlight=False)
        full = settings.printshellcmds or settings.verbose or settings.debug_dag
        self.shows = self.console.is_terminal and not full
        self.quiet = bool(QUIET & {str(word) for word in settings.quiet or ()})
        self.jobs: dict[int, Job] = {}
        self.done, self.total, self.began = 0, 0, time.monotonic()
        self.is_ending = False
        self.table = ""
        self.live: Live | None = None

    # What Snakemake asks: where another handler writes, this one does not.
    @property
    def writes_to_stream(self) -> bool:
        return self.shows

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False

    def emit(self, record: LogRecord) -> None:
        """Show a record; one that cannot be shown is told as Python's logging does."""
        if not self.shows:
            return
        try:
            self._show(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """End the display, and say how much was done."""
        if self.live is not None:
            self.live.stop()
            self.live = None
            self._print(self._summary())
        super().close()

    def _show(self, record: LogRecord) -> None:
        told = vars(record)
        match told.get("event"):
            case LogEvent.RUN_INFO:
                self._plan(told["stats"], record.getMessage())
            case LogEvent.JOB_INFO:
                self.jobs[told["jobid"]] = Job(_name(told), list(told["log"] or ()))
            case LogEvent.JOB_FINISHED:
                self._finish(told["job_id"])
            case LogEvent.JOB_ERROR:
                self._fail(told)
            case None | LogEvent.ERROR | LogEvent.GROUP_ERROR:
                self._say(record)

    def _plan(self, stats: Mapping[str, int], table: str) -> None:
        if self.common_settings.dryrun:
            if table != self.table:  # it comes before the jobs and behind them
                self._print(table.strip())
            self.table = table
            return
        self.total = stats.get("total", 0)
        counts = ", ".join(f"{count} {rule}" for rule, count in stats.items() if rule != "total")
        if not self.quiet:
            self._print(f"{self.total} jobs: {counts}")
        if self.live is None:
            self.live = Live(
                console=self.console,
                get_renderable=self._running,
                refresh_per_second=REFRESHES_PER_S,
                transient=True,
            )
            self.live.start()

    def _running(self) -> Group:
        """A line for each running job, and one for the run."""
        lines = [f"{job.seconds} {job.name}  {job.progress()}" for job in [*self.jobs.values()]]
        texts = [_one_line(line) for line in [*lines, self._summary()]]
        return Group(*texts)

    def _summary(self) -> str:
        return f"{self.done} of {self.total} jobs done in {_clock(time.monotonic() - self.began)}"

    def _finish(self, jobid: int) -> None:
        job = self.jobs.pop(jobid, None)
        self.done += 1
        if job is not None and not self.quiet:
            self._print(f"{self.done}/{self.total} {job.name} in {job.seconds}", one_line=True)

    def _fail(self, told: Mapping[str, object]) -> None:
        """A failed job, with the end of its log; of one that was ended its name alone."""
        job = self.jobs.pop(int(str(told["jobid"])), None) or Job(_name(told))
        if self.is_ending:
            self._print(f"ended: {job.name}", one_line=True)
            return
        self._print(f"failed: {job.name} after {job.seconds}", style="bold red")
        for path in job.logs:
            self._print(f"the end of {path}:")
        self._print("\n".join(job.tail()[-TAIL_LINES:]))

    def _say(self, record: LogRecord) -> None:
        """Any other message: warnings, errors, and what Snakemake says at the end."""
        message = str(record.msg or "").replace(ABOVE, "").strip()
        self.is_ending = self.is_ending or bool(ENDING.match(message))
        is_worth_it = record.levelno >= WARNING or not LEFT_OUT.match(message)
        if is_worth_it and not REPEATED.match(message):
            self._print(message, style="red" if record.levelno > WARNING else "")

    def _print(self, text: str, style: str = "", *, one_line: bool = False) -> None:
        """Print above the running jobs, without what would control the terminal."""
        shown = printable(text)
        if one_line:
            self.console.print(Text(shown), no_wrap=True, overflow="ellipsis")
        else:
            self.console.print(Text(shown, style=style), soft_wrap=True)


def _name(told: Mapping[str, object]) -> str:
    """A rule with its wildcards, such as `train run=vovnet seed=0`."""
    wildcards = told.get("wildcards") or {}
    pairs = wildcards.items() if hasattr(wildcards, "items") else ()
    return " ".join([str(told["rule_name"]), *(f"{name}={value}" for name, value in pairs)])


def _one_line(line: str) -> Text:
    return Text(printable(line), no_wrap=True, overflow="ellipsis")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _end_of(path: Path) -> list[str]:
    try:
        return last_lines(path, TAIL_BYTES)
    except OSError:
        return []
