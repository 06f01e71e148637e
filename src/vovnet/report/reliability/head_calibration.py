"""How far what heads fitted afterwards expect of each action can be trusted, by proper scores."""

from vovnet.report import render
from vovnet.report.inputs import over_seeds
from vovnet.report.reliability import HEAD, Errors

ORDER = 150


def table(errors: Errors) -> render.Table:
    by = ["dataset", "experiment", "router", "action"]
    rows = errors.by_dataset(over_seeds(errors.heads, by, HEAD, ("num_samples",)))
    columns = (
        render.method(errors.settings, rows)
        | {"Action": rows["action"].map(render.label)}
        | {"Answers": render.numbers(rows["num_samples"], digits=0)}
        | {"Expected": render.numbers(rows["expected_mean"], digits=3)}
        | {"Measured": render.numbers(rows["measured_mean"], digits=3)}
        | {"Brier": render.numbers(rows["brier_mean"], digits=4)}
        | {"of the mean": render.numbers(rows["brier_of_mean_mean"], digits=4)}
        | {"Log loss [nats]": render.numbers(rows["log_loss_mean"], digits=3)}
        | {"ECE": render.numbers(rows["ece_mean"], digits=3)}
    )
    caption = (
        "What heads fitted afterwards expect of each action, held against the scores of its "
        "answers: the mean of both; the Brier score, and that of telling the set's own mean every "
        "time; the logarithmic score; the expected calibration error in ten bins. Both scores are "
        "lowest where the true chance is told. Means over seeds."
    )
    return render.Table(caption, rows, columns)
