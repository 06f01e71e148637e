"""Whether Snakemake can read the files behind its `--configfile`.

Snakemake reads them before the Snakefile, and answers a file that it cannot read with a traceback.
It imports this package earlier, while it puts together its options, whichever scheduler is asked
for. So this is where a project can look at the files first.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import yaml


def refuse_unreadable() -> None:
    """End a call of Snakemake with one line and status 2 where it could not read a file."""
    program = Path(sys.argv[0])
    called = program.stem == "snakemake" or program.parts[-2:] == ("snakemake", "__main__.py")
    if called and (fault := first_fault(sys.argv[1:])):
        print(f"vovnet: error: {fault}", file=sys.stderr)
        sys.exit(2)


def first_fault(arguments: Sequence[str]) -> str | None:
    """What is wrong with the first of the configuration files that is no mapping in YAML."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--configfile", "--configfiles", nargs="*", type=Path, default=[])
    for path in parser.parse_known_args(arguments)[0].configfile:
        try:
            if path.exists() and not (path.is_file() or path.is_dir()):
                return f"{path}: expected a YAML file, and this is a pipe or a device"
            value = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
            if not isinstance(value, dict):
                kind = "nothing" if value is None else type(value).__name__
                return f"{path}: expected a mapping of keys, got {kind}"
        except FileNotFoundError:
            return f"{path}: file not found"
        except OSError as error:
            return f"{path}: {error.strerror}, expected a YAML file"
        except UnicodeDecodeError as error:
            before = error.object.count(b"\n", 0, error.start)
            return f"{path}, line {before + 1}: not valid UTF-8 ({error.reason})"
        except yaml.MarkedYAMLError as error:
            line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
            return f"{path}{line}: {error.problem}"
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            return f"{path}: no valid YAML ({str(error).splitlines()[0]})"
    return None
