"""Tables, figures and checks for other lists of actions than the default's three."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from support.reports import write_suite
from vovnet.config import merge
from vovnet.evaluation.error_slices import write_error_slices
from vovnet.report.checks import write_sanity
from vovnet.report.discovery import load
from vovnet.report.inputs import load_inputs
from vovnet.report.reliability import write_reliability
from vovnet.report.render import label, shares_note, short
from vovnet.report.style import WIDTHS_IN, action_looks, paper_style
from vovnet.report.tables import write_tables

FIVE = ["no", "side-64", "side-96", "full", "full+merge-cosine-0.5"]
LABELS = ["NO", "64 px", "96 px", "FULL", "FULL+merge-cosine-0.5"]
CASCADE = {
    "title": "Cascade",
    "policy": {"baseline_name": "cascade"},
    "sweep": {"options.threshold": [0.05, 0.2]},
}
SMALL = {
    "eval": {"bootstrap_samples": 50},
    "experiments": {"vovnet": {"error_slices": True}, "cascade": CASCADE},
}
NEEDS = {2: (0.5, 0.5), 5: (0.3, 0.2, 0.2, 0.15, 0.15)}


@pytest.mark.parametrize("actions", [FIVE, ["no", "full"]], ids=len)
def test_reports_take_any_list_of_actions(actions: list[str], tmp_path: Path) -> None:
    sets = {"one": NEEDS[len(actions)]}
    views = {"views": ["no", *actions[-1:]]}
    changes = {"actions": actions, "experiments": {"cascade": {"policy": {"options": views}}}}
    settings, layout = write_suite(tmp_path, sets, [0, 1], 120, merge(SMALL, changes))
    write_error_slices(settings, layout, "vovnet")
    write_tables(settings, layout)
    (content,) = (item for item in write_sanity(settings, layout) if item.block == "cascade")
    assert content.passed and content.numbers.startswith("2 of 2 hold"), content.numbers
    write_reliability(settings, layout)
    rows = pd.read_csv(layout.paper / "action_ratio.csv")
    shares = rows[[f"action_rate_{action}_mean" for action in actions]]
    assert shares.sum(axis=1).tolist() == pytest.approx([1] * len(rows))
    heading = next(iter((layout.paper / "main_table.md").read_text().splitlines()))
    assert f"| {' / '.join(short(actions))} [%]" in heading
    text = (layout.paper / "main_table.md").read_text()
    assert shares_note(actions) in text and "nan" not in text
    errors = pd.read_csv(layout.paper / "action_errors.csv")
    assert set(errors["value"]) <= set(actions)
    inputs = load_inputs(settings, layout)
    for width_in in sorted(WIDTHS_IN.values()):
        with paper_style(width_in):
            modules = load("vovnet.report.figures").items()
            drawn = {name: made for name, module in modules if (made := module.figure(inputs))}
            for figure in drawn.values():
                figure.draw_without_rendering()
    bars, curves, logs = (drawn[name] for name in ("action_ratio", "accuracy_cost", "training"))
    labels = [label(action) for action in actions]
    legend = [text.get_text() for text in bars.legends[0].get_texts()]
    assert legend == labels
    assert {text.get_text() for text in curves.axes[0].texts} >= {"NO", "FULL"}
    lines = curves.axes[0].get_lines()
    looks = {line: (line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    (cascade,) = (look for line, look in looks.items() if line.get_label() == "Cascade")
    assert list(looks.values()).count(cascade) == 1, "a policy that no report knows"
    assert len(logs.axes[2].get_lines()) == 3 * len(actions), "two seeds and their mean"


def test_names_of_actions() -> None:
    assert [label(action) for action in FIVE] == LABELS
    assert short(FIVE) == ["N", "64", "96", "F", "F+m0.5"]
    assert short(["no", "coarse", "full"]) == ["N", "C", "F"]
    alike = ["no", "full+merge-cosine-0.5", "full+merge-l2-uniform-0.5"]
    assert short(alike) == ["NO", *(label(action) for action in alike[1:])]


def test_every_action_looks_different_and_the_first_three_as_always() -> None:
    default, five = action_looks(["no", "coarse", "full"]), action_looks(FIVE)
    assert five["no"] == default["no"] and five["full"] == default["full"]
    assert len({look.color for look in five.values()}) == len(FIVE)
    assert len({look.line for look in five.values()}) == len(FIVE)
    many = action_looks(["no", *(f"side-{side}" for side in range(10, 20))])
    assert len(many) == 11
