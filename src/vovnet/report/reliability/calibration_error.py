"""How well both readings of the policy head tell apart what they are about."""

from vovnet.report import render
from vovnet.report.inputs import over_seeds
from vovnet.report.reliability import KINDS, Errors

ORDER = 130


def table(errors: Errors) -> render.Table:
    by = ["dataset", "experiment", "point", "kind"]
    rows = over_seeds(errors.predictions, by, ("auc", "ece"), ("num_samples",))
    rows = errors.by_dataset(rows)
    columns = (
        render.method(errors.settings, rows)
        | render.swept(errors.settings, rows)
        | {"Prediction": rows["kind"].map(KINDS)}
        | {"Answers": render.numbers(rows["num_samples"], digits=0)}
        | render.value(rows, "auc", deviation=True)
        | render.value(rows, "ece", deviation=True)
    )
    caption = (
        "What the policy head tells: area under the ROC curve, the chance "
        "that of two questions the right one is predicted higher (0.5 is guessing). The "
        "probability of the likeliest action is to tell where that action is the cheapest of those "
        "that answer best; the value of FULL over NO, where FULL answers better. "
        "ECE: expected calibration error of that probability, and of sigmoid(value) where just one "
        "of the two is better. Neither is made to be the probability of that: a head that knows "
        f"everything does not reach 0. {errors.place}"
    )
    return render.Table(caption, rows, columns)
