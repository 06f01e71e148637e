"""The JSON schema of the configuration, for editors; `make schema` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vovnet.config import Settings
from vovnet.core.files import write_text
from vovnet.data.formats import FORMATS, load_format
from vovnet.policies import baseline_names

SCHEMA_PATH = Path(__file__).parent / "schemas" / "config.schema.json"


def schema() -> dict[str, Any]:
    """The settings' classes as a JSON schema, with what the registries add to them."""
    found = Settings.model_json_schema()
    _add_formats(found["$defs"]["DatasetSettings"])
    name = found["$defs"]["PolicySettings"]["properties"]["baseline_name"]
    name["anyOf"][0]["enum"] = baseline_names()
    return found


def schema_text() -> str:
    """The schema as it is stored."""
    return json.dumps(schema(), indent=2, sort_keys=True) + "\n"


def _add_formats(definition: dict[str, Any]) -> None:
    """The names of the dataset formats, and the options that each brings along."""
    definition["properties"]["format"]["enum"] = list(FORMATS)
    definition["additionalProperties"] = False
    for name in FORMATS:
        options = load_format(name).options.model_json_schema()
        definition["properties"] |= options.get("properties", {})


if __name__ == "__main__":
    write_text(SCHEMA_PATH, schema_text())
