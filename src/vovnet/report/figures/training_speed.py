"""How fast VoVNet was trained: samples, tokens and FLOPs a second over both stages."""

from matplotlib.figure import Figure

from vovnet.report import style
from vovnet.report.inputs import Inputs, of
from vovnet.report.style import BLUE, VERMILLION, Look
from vovnet.report.training_logs import load_train_log

ORDER = 35
STAGES = {1: Look(BLUE), 2: Look(VERMILLION)}
"""How each stage is drawn."""

RATES = {
    "samples_per_s": ("Samples/s, all devices", 1.0),
    "tokens_per_s_and_device": ("1,000 tokens/s and device", 1e-3),
    "tflops_per_s_and_device": ("TFLOP/s and device", 1.0),
    "mfu": ("Model FLOPs utilization [%]", 100.0),
}
"""Title and factor of each logged rate, which is the mean since the stage was started."""


def figure(inputs: Inputs) -> Figure | None:
    """Over the share of a stage that is done, a line per stage and seed."""
    trained = inputs.trained_main_run()
    if trained is None:
        return None
    log = load_train_log(inputs, *trained)
    shown = [rate for rate in RATES if rate in log and log[rate].notna().any()]
    if not shown:
        return None
    made, panels = style.panel_grid(len(shown), 1.75, columns=4, x_label="Share of the stage [%]")
    for axes, rate in zip(panels, shown, strict=True):
        title, factor = RATES[rate]
        for stage, look in STAGES.items():
            for _, lines in of(log, folder_stage=stage).groupby("seed"):
                done = 100 * lines["step"] / lines["step"].max()
                axes.plot(done, factor * lines[rate], color=look.color, lw=0.9)
        axes.set_ylim(bottom=0)
        axes.set_title(title)
        style.ticks(axes.xaxis, 4, integer=True)
    handles = [
        style.handle(f"Stage {stage}, each seed", color=look.color, lw=0.9)
        for stage, look in STAGES.items()
    ]
    style.legend_below(made, handles, columns=2)
    return made
