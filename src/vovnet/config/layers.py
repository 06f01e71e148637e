"""Configuration files: read from YAML, and layered on each other."""

from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from vovnet.core.errors import ConfigError, DataError, one_line
from vovnet.core.files import read_text

# That of libyaml where PyYAML was built with it: ten times faster.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


MERGED = "tag:yaml.org,2002:merge"
"""What the key `<<` is, which brings in the keys of another mapping."""


MOST_VALUES = 1_000_000
"""Of a configuration file."""


class _Repeated(yaml.MarkedYAMLError):
    """A key that occurs twice in a mapping."""


class _Loader(yaml.SafeLoader):
    """A loader of plain values that refuses a repeated key, of which YAML keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first_lines = dict[Hashable, int]()
        for key_node, _ in node.value:
            if key_node.tag == MERGED:
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in first_lines:
                    problem = f"the key {key!r} stands in line {first_lines[key]} already"
                    raise _Repeated(problem=problem, problem_mark=key_node.start_mark)
                first_lines[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """The mapping in a YAML file; an error names the file and, where it is known, the line."""
    try:
        value = yaml.load(read_text(path), Loader=_Loader)
    except DataError as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}, expected a YAML file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f", line {line + 1}" if line is not None else ""
        raise ConfigError(f"{path}{where}: {_fault(error)}") from None
    if value is None:
        return {}
    _check_size(path, value)
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, got {type(value).__name__}")
    return value


def _check_size(path: Path | str, value: Any) -> None:
    """Refuse what aliases make endless, or larger than any configuration."""
    waiting, count = [(value, frozenset[int]())], 0
    while waiting:
        item, above = waiting.pop()
        count += 1
        if id(item) in above:
            raise ConfigError(f"{path}: an alias stands inside of what it stands for")
        if count > MOST_VALUES:
            raise ConfigError(f"{path}: expected at most {MOST_VALUES:,} values, aliases counted")
        if isinstance(item, dict | list | set):
            inner = [*item, *item.values()] if isinstance(item, dict) else item
            waiting += [(child, above | {id(item)}) for child in inner]


def _fault(error: Exception) -> str:
    """What is wrong with the text of a YAML file."""
    if isinstance(error, _Repeated):
        return f"{error.problem}, expected each key once"
    if isinstance(error, yaml.YAMLError):
        return "not valid YAML"
    return f"not valid YAML ({one_line(error)})"


def read_layers(paths: Iterable[Path | str]) -> list[dict[str, Any]]:
    """The mappings of some files. Two suites that each stand alone do not go together."""
    layers = {str(path): read_yaml(path) for path in paths}
    alone = [path for path, layer in layers.items() if layer.get("standalone") is True]
    if len(alone) > 1:
        raise ConfigError(
            f"{alone[1]}: standalone: {alone[0]} is a suite of its own as well, expected one of"
            " the two in a call"
        )
    return list(layers.values())


def set_layers(assignments: Iterable[str]) -> list[dict[str, Any]]:
    """The layers of texts such as `policy.lambda_cost=0.02`, whose values are YAML."""
    layers = []
    for text in assignments:
        key, equals, value_text = text.partition("=")
        names = key.strip().split(".")
        if not equals or not all(names):
            raise ConfigError(f"--set: expected key=value as in eval.batch_size=8, got {text!r}")
        try:
            value: Any = yaml.load(value_text, Loader=_Loader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"--set {text}: {_fault(error)}") from None
        for name in reversed(names):
            value = {name: value}
        layers.append(value)
    return layers


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Layer `override` on `base`: mappings key by key, everything else replaced."""
    merged = dict(base)
    for key, value in override.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def yaml_text(value: Mapping[str, Any]) -> str:
    """Plain values as YAML."""
    return yaml.dump(value, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)
