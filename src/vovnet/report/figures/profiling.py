"""Where the time of an answer goes: a panel per dataset, a bar per live experiment."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vovnet.report import style
from vovnet.report.inputs import Inputs, of
from vovnet.report.live_runs import PARTS, profiles
from vovnet.report.style import BLACK, BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION, Look

ORDER = 70
LOOKS = {
    "text_pass": Look(VERMILLION),
    "decision": Look(BLACK),
    "image_loading": Look(GREY, "////"),
    "preprocessing": Look(GREEN, "...."),
    "vision_encoding": Look(SKY),
    "prefill": Look(ORANGE, "\\\\\\\\"),
    "generation": Look(BLUE),
}
"""How each part of an answer is drawn."""

BAR_IN = 0.17


def figure(inputs: Inputs) -> Figure | None:
    rows = profiles(inputs)
    if rows.empty:
        return None
    datasets = list(dict.fromkeys(rows["dataset"]))
    names = list(dict.fromkeys(rows["title"] + rows["label"]))
    height_in, x_label = 0.6 + BAR_IN * len(names), "Mean time per question [ms]"
    made, panels = style.panel_grid(len(datasets), height_in, x_label=x_label, narrow=1)
    for axes, dataset in zip(panels, datasets, strict=True):
        shown = of(rows, dataset=dataset)
        titles = (shown["title"] + shown["label"]).tolist()
        places = [len(names) - 1 - names.index(title) for title in titles]
        left = np.zeros(len(shown))
        for part, look in LOOKS.items():
            width = shown[f"{part}_ms"].to_numpy()
            axes.barh(places, width, left=left, height=0.75, **look.bar)
            left += width
        axes.set_yticks(range(len(names)), names[::-1])
        axes.tick_params(labelleft=style.is_left(axes))
        axes.grid(False, axis="y")
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_title(dataset)
    handles = [Patch(**look.bar, label=PARTS[part][0]) for part, look in LOOKS.items()]
    style.legend_below(made, handles, columns=len(handles))
    return made
