"""VoVNet's shares of all actions at every lambda, a panel per dataset."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vovnet.evaluation.columns import rate_columns
from vovnet.report.inputs import Inputs, of, over_seeds
from vovnet.report.render import label, plain
from vovnet.report.style import action_looks, legend_below, panel_grid

ORDER = 20


def figure(inputs: Inputs) -> Figure | None:
    datasets = [name for name in inputs.datasets() if inputs.main(name) is not None]
    if not datasets:
        return None
    looks, rates = action_looks(inputs.actions), rate_columns(inputs.actions)
    x_label = r"$\lambda_\mathrm{cost}$ [nats per unit of cost]"
    y_label = "Share of questions [%]"
    made, panels = panel_grid(len(datasets), 1.75, x_label=x_label, y_label=y_label, narrow=1)
    for axes, dataset in zip(panels, datasets, strict=True):
        rows = of(inputs.points, dataset=dataset, experiment=inputs.main(dataset))
        shares = over_seeds(rows, ["lambda_cost"], [], rates).sort_values("lambda_cost")
        bottom = np.zeros(len(shares))
        for look, rate in zip(looks.values(), rates, strict=True):
            height = 100 * shares[rate].to_numpy()
            axes.bar(range(len(shares)), height, bottom=bottom, **look.bar)
            bottom += height
        axes.set_xticks(range(len(shares)), [plain(item) for item in shares["lambda_cost"]])
        axes.set_ylim(0, 100)
        axes.grid(False, axis="x")
        axes.set_title(dataset)
    handles = [Patch(**look.bar, label=label(action)) for action, look in looks.items()]
    legend_below(made, handles, columns=len(handles))
    return made
