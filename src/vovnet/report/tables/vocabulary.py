"""The routing literature's measures beside ours, from the same operating points."""

from vovnet.evaluation.columns import FLOPS, VOCABULARY
from vovnet.report import render
from vovnet.report.inputs import Inputs, over_seeds

ORDER = 55
BY = ["dataset", "experiment"]


def table(inputs: Inputs) -> render.Table:
    """A row per dataset and method; what depends on cost is told by tokens and by FLOPs."""
    names = [column.name for column in VOCABULARY]
    rows = over_seeds(inputs.hull, [*BY, "title"], names)
    counted = over_seeds(inputs.counted(FLOPS).hull, BY, names)
    counted = rows[BY].merge(counted, on=BY, how="left", validate="one_to_one")
    columns = (
        {"Dataset": rows["dataset"], "Method": rows["title"]}
        | render.value(rows, "cost_save")
        | render.value(counted, "cost_save", "by FLOPs ↑ [%]")
        | render.value(rows, "perf_gain")
        | render.value(rows, "gain_at_random")
        | render.value(rows, "gap_at_oracle")
        | render.value(counted, "rank_score")
        | render.seeds(rows)
    )
    caption = (
        "Measures of the routing literature, from the same operating points; docs/policies.md has "
        "their formulas and sources. CostSave: the largest share of the cost of the best single "
        "action that is saved at its accuracy. PerfGain, Gain@R, Gap@O: the most accurate point "
        "relative to the best single action, to an action drawn at random, and to the oracle. "
        "Rank score: harmonic mean of accuracy and of cheapness by the logarithm of FLOPs, between "
        "not looking (1) and the dearest action (0). Each takes the best of a method's points on "
        "the questions that are reported. Means over seeds."
    )
    short = render.Short(caption, render.without(columns, "Seeds"))
    return render.Table(caption, rows, columns, short, inputs.is_main(rows))
