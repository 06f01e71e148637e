"""Fallbacks: how often a NO is overruled, the actions before and after, and the cost."""

from functools import partial

from vovnet.config.experiments import fallback_of
from vovnet.evaluation.columns import rate_columns
from vovnet.report import render
from vovnet.report.inputs import over_seeds
from vovnet.report.reliability import Errors

ORDER = 140


def table(errors: Errors) -> render.Table:
    frame, settings, actions = errors.fallbacks, errors.settings, errors.settings.actions
    modes = frame["experiment"].map(partial(fallback_of, settings))
    triggered = frame["fallback_trigger_rate"]
    blind, *looks = actions
    before = {blind: frame[f"action_rate_{blind}"] + triggered}
    for action in looks:
        before[action] = frame[f"action_rate_{action}"] - triggered.where(modes == action, 0)
    frame = frame.assign(**{f"before_{action}": share for action, share in before.items()})
    names = [f"before_{action}" for action in actions]
    averages = (*rate_columns(actions), *names, "accuracy_lo", "accuracy_hi")
    measures = ("fallback_trigger_rate", "accuracy", "avg_cost")
    by = ["dataset", "experiment", "point"]
    rows = errors.by_dataset(over_seeds(frame, by, measures, averages))
    heading = render.shares_heading(actions)
    columns = (
        render.method(settings, rows)
        | render.swept(settings, rows)
        | render.value(rows, "fallback_trigger_rate", deviation=True)
        | render.shares(rows, actions, names, f"{heading} before [%]")
        | render.shares(rows, actions, heading=f"{heading} after [%]")
        | render.accuracy(rows)
        | render.value(rows, "avg_cost")
    )
    caption = (
        "Fallbacks: a NO is overruled where the text pass is unsure, and the view that is executed "
        f"is paid for. {errors.place}"
    )
    return render.Table(caption, rows, columns)
