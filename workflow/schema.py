"""The JSON schema of the configuration, for editors; `make schema` writes it."""

from __future__ import annotations

import json
from pathlib import Path

from vovnet.config import Settings
from vovnet.core.files import write_text

SCHEMA_PATH = Path(__file__).parent / "schemas" / "config.schema.json"


def schema_text() -> str:
    """The schema as it is stored; the settings' classes are its only source."""
    return json.dumps(Settings.model_json_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    write_text(SCHEMA_PATH, schema_text())
