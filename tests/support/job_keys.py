"""Which settings and which code every job of a suite has: run in a copy of the project.

    python job_keys.py config/test.yaml [more.yaml ...]

prints JSON, job -> [path of the step's configuration, digest of the code]. As in the rules, whose
parameters these are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vovnet.config import load
from vovnet.core.layout import ROUTER_FIT
from workflow.plan import Plan


class Job(dict[str, str]):
    """Wildcards of a rule."""

    def __getattr__(self, name: str) -> str:
        return self[name]


def jobs(plan: Plan) -> Iterator[tuple[str, str, Any, Job]]:
    """(rule, step, function of the views that it shows, wildcards)."""
    settings = plan.settings
    for dataset, definition in settings.data.datasets.items():
        if definition.source == "synthetic":
            yield "synthesize", "synthesize", None, Job(dataset=dataset)
        for split in definition.files:
            yield "prepare", "prepare", None, Job(dataset=dataset, split=split)
    yield "leakage", "leakage", None, Job()
    for run in settings.runs:
        for seed in map(str, settings.seeds):
            model = {"run": run, "seed": seed}
            for stage in (1, 2):
                yield f"train_stage{stage}", "train", None, Job(model, stage=stage)
            for eval_set in (*settings.data.eval_sets, ROUTER_FIT):
                for group in ("actions", "views"):
                    job = Job(model, eval_set=eval_set, group=group)
                    if group == "actions" or plan.views(job):
                        yield f"observe_{group}", "observe", plan.views, job
    for name, stanza in settings.experiments.items():
        job = Job(experiment=name)
        if stanza.match:
            yield "match", "match", None, job
        if stanza.mode == "live":
            yield "live", "live", plan.live_views, job
        yield "evaluate", "evaluate", None, job
        if stanza.error_slices:
            yield "error_slices", "error_slices", None, job
    for report in plan.reports:
        for step in ("hull_metrics", "tables", "figures", "sanity", "page", "paper_pdf"):
            yield step, step, None, Job(report=report)
    for step in ("reliability", "ablation_table", "bench"):
        yield step, step, None, Job()


def main(configs: list[str]) -> dict[str, list[str]]:
    plan = Plan(load(configs))
    keys = {}
    for rule, step, views, job in jobs(plan):
        more = {"stage": int(job.stage)} if "stage" in job else {}
        wildcards = Job({name: value for name, value in job.items() if name != "stage"})
        config = plan.config(step, **more)(wildcards)
        code = plan.code(step, views, **more)(wildcards)
        shown = [" ".join(views(wildcards))] if views else []
        keys[" ".join([rule, *wildcards.values()])] = [Path(config).name, code, *shown]
    return keys


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
