"""The report as one page for a browser, which needs no network: report.html.

The page holds its data, its pictures and the libraries that draw it: Plotly for curves and
DataTables for tables. Its own script (`assets/page/page.js`) only filters what it was given.
"""

import base64
import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs

from vovnet.config import Settings
from vovnet.core.files import json_ready, read_json, read_text, write_text
from vovnet.core.layout import Layout
from vovnet.report.checks import FAILED, PASSED, WORDS
from vovnet.report.discovery import discover
from vovnet.report.inputs import finish, load_inputs
from vovnet.report.page.curves import main_figure
from vovnet.report.page.questions import browsed_questions
from vovnet.report.render import from_markdown

NAME = "report.html"
TEMPLATES = Path(__file__).resolve().parents[2] / "assets" / "page"
OF_SCRIPTS = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"}
"""Signs that would end a script or begin a tag -> how JSON writes them otherwise."""


def write_page(settings: Settings, layout: Layout) -> list[Path]:
    """Write `report.html` and, last, `report.manifest.json`, from a report that is finished."""
    inputs = load_inputs(settings, layout)
    checks = next(
        (path for name in (FAILED, PASSED) if (path := layout.paper / f"{name}.json").exists()),
        layout.paper / f"{PASSED}.json",
    )
    tables = [layout.paper / f"{item.name}.md" for item in discover("vovnet.report.tables")]
    questions, read = browsed_questions(inputs)
    data = {
        "figure": main_figure(inputs),
        "tables": [_table(path) for path in tables],
        "checks": _checks(read_json(checks)),
        "questions": questions,
        "target_lambda": settings.report.target_lambda,
    }
    page = layout.paper / NAME
    write_text(page, rendered(settings.report.title, data))
    read = [*inputs.files, *tables, checks, *read]
    manifest = layout.paper / "report.manifest.json"
    return finish(manifest, "page", settings, layout, read, [page])


def rendered(title: str, data: dict[str, Any]) -> str:
    """The page about some data; equal data give an equal page.

    Inline scripts run only with the page's nonce, which no text in the data can hold: their digest.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    text = {name: read_text(TEMPLATES / name) for name in ("page.html", "page.css", "page.js")}
    bundle = Path(str(files("itables"))) / "html"
    tables = read_text(bundle / "dt_bundle.js").encode()
    told = for_script(data)
    return environment.from_string(text["page.html"]).render(
        title=title,
        nonce=hashlib.sha256(told.encode()).hexdigest(),
        style=read_text(bundle / "dt_bundle.css") + text["page.css"],
        plotly=get_plotlyjs(),
        datatables=base64.b64encode(tables).decode(),
        script=text["page.js"],
        data=told,
    )


def for_script(data: Any) -> str:
    """JSON that may stand in a page, whatever texts are in it."""
    text = json.dumps(json_ready(data), sort_keys=True, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda sign: OF_SCRIPTS[sign[0]], text)


def _table(path: Path) -> dict[str, Any]:
    """A table of the report as it was written for people."""
    columns, rows, caption = from_markdown(read_text(path))
    return {"name": path.stem, "columns": columns, "rows": rows, "caption": caption}


def _checks(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The sanity checks, which are stored with failures first."""
    words = {passed: word.strip("*") for passed, word in WORDS.items()}
    columns = ["Result", "Block", "Check", "Kind", "Numbers"]
    rows = [
        [words[item["passed"]], *(item[key] for key in ("block", "name", "kind", "numbers"))]
        for item in found
    ]
    return {"columns": columns, "rows": rows}
