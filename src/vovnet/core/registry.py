"""Registries: tables of names to modules, in which plug-ins are entered."""

from importlib import import_module
from typing import Any

from vovnet.core.errors import ConfigError


def load_entry(registry: str, module: str, attribute: str) -> Any:
    """What an entry of a registry stands for: an attribute of the module that it names.

    `registry` is the module that holds the table. An entry that leads nowhere is an error of one
    line; what goes wrong inside the module that it names is not.
    """
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(f"{registry}: an entry names {module!r}, which is no module") from None
    if not hasattr(loaded, attribute):
        raise ConfigError(f"{registry}: an entry names {module!r}, which has no {attribute}")
    return getattr(loaded, attribute)
