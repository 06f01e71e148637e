"""Dataset formats: layouts of raw files that can be read, one module each.

A format's module holds one `FORMAT`, a `vovnet.data.formats.base.DatasetFormat`. To add one,
write its module and its entry here: the names that a configuration may give, the inputs of
`vovnet prepare`, the scorer and the table in docs/datasets.md follow.
"""

from functools import cache

from vovnet.config import Settings
from vovnet.core.errors import ConfigError
from vovnet.core.registry import load_entry
from vovnet.data.formats.base import DatasetFormat

FORMATS = {
    "mmbench": "vovnet.data.formats.mmbench",
    "mmmu": "vovnet.data.formats.mmmu",
    "mmmu_pro": "vovnet.data.formats.mmmu_pro",
    "textvqa": "vovnet.data.formats.textvqa",
    "llava": "vovnet.data.formats.llava",
    "choices": "vovnet.data.formats.choices",
    "open": "vovnet.data.formats.open",
}


@cache
def load_format(name: str) -> DatasetFormat:
    found: DatasetFormat = load_entry(__name__, FORMATS[name], "FORMAT")
    return found


def format_of(settings: Settings, dataset: str) -> DatasetFormat:
    """The format of a dataset; an error names the key of a wrong name or a wrong option."""
    definition, key = settings.data.dataset(dataset), f"data.datasets.{dataset}"
    if definition.format not in FORMATS:
        raise ConfigError(
            f"{key}.format: expected one of {list(FORMATS)}, got {definition.format!r}"
        )
    dataset_format = load_format(definition.format)
    dataset_format.check_options(key, definition)
    return dataset_format


def check_formats(settings: Settings) -> None:
    """Refuse a dataset whose format or options are wrong, before any job runs."""
    for dataset in settings.data.datasets:
        format_of(settings, dataset)
