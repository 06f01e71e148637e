"""Fallbacks: how often a NO is overruled, the actions before and after, and the cost."""

from __future__ import annotations

from vovnet.evaluation.columns import rate_columns
from vovnet.report import text
from vovnet.report.inputs import over_seeds
from vovnet.report.reliability import Errors
from vovnet.report.render import Table, shares_heading

ORDER = 140


def table(errors: Errors) -> Table:
    frame, settings, actions = errors.fallbacks, errors.settings, errors.settings.actions
    modes = frame["experiment"].map(lambda name: settings.experiments[name].policy["fallback_mode"])
    triggered = frame["fallback_trigger_rate"]
    before = {"no": frame["action_rate_no"] + triggered}
    for action in actions[1:]:
        before[action] = frame[f"action_rate_{action}"] - triggered.where(modes == action, 0)
    frame = frame.assign(**{f"before_{action}": share for action, share in before.items()})
    names = [f"before_{action}" for action in actions]
    averages = (*rate_columns(actions), *names, "accuracy_lo", "accuracy_hi")
    measures = ("fallback_trigger_rate", "accuracy", "avg_cost")
    rows = errors.by_dataset(over_seeds(frame, ["dataset", "experiment"], measures, averages))
    heading = shares_heading(actions)
    columns = (
        text.method(settings, rows)
        | text.value(rows, "fallback_trigger_rate", deviation=True)
        | text.shares(rows, actions, names, f"{heading} before [%]")
        | text.shares(rows, actions, heading=f"{heading} after [%]")
        | text.accuracy(rows)
        | text.value(rows, "avg_cost")
    )
    caption = (
        f"Fallbacks at λ = {settings.report.target_lambda:g}: a NO is overruled where the text "
        "pass is unsure, and the view that is executed is paid for."
    )
    return Table(caption, rows, columns)
