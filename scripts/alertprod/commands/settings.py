"""The configuration as Snakemake sees it: the default with the user's files laid over it."""

import argparse
import re
from pathlib import Path
from typing import Any

import yaml

from alertprod.core.errors import BadInput

DEFAULT = "config/default.yaml"
CLONE = Path(__file__).parents[3]
PATHVAR = re.compile(r"<(\w+)>")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a command the options by which it finds its configuration."""
    parser.add_argument(
        "--configfile",
        nargs="+",
        default=[],
        metavar="FILE",
        help="configuration laid over config/default.yaml, as for snakemake; the last one counts",
    )


def load(files=(), default: str | None = None) -> dict[str, Any]:
    """Read the configuration.

    Parameters
    ----------
    files : iterable of paths
        Laid over the default, dictionary by dictionary, in this order.
    default : path, optional
        ``config/default.yaml`` of the working directory, or else of this clone.

    Returns
    -------
    dict
        Path variables (``<results>``) are resolved.

    Raises
    ------
    BadInput
        If a file is missing or is not a YAML dictionary.
    """
    if default is None:
        default = DEFAULT if Path(DEFAULT).is_file() else str(CLONE / DEFAULT)
    config: dict[str, Any] = {}
    for path in (default, *files):
        merge(config, _read(path))
    config["pathvars"] = {
        name: resolve(value, config) for name, value in config["pathvars"].items()
    }
    return config


def from_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Read the configuration that the options of a command name."""
    return load(args.configfile)


def merge(base: dict, overlay: dict) -> None:
    """Lay `overlay` over `base`, key by key, as deep as both are dictionaries."""
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value


def resolve(path: str, config: dict) -> str:
    """Put the values of path variables in their places.

    Raises
    ------
    BadInput
        If the configuration does not define a variable.
    """

    def value(match: re.Match) -> str:
        name = match.group(1)
        if name not in config["pathvars"]:
            raise BadInput(
                f"{path} asks for the path variable {name}, which the configuration does not "
                "define. Add it under pathvars."
            )
        return resolve(config["pathvars"][name], config)

    return PATHVAR.sub(value, path)


def results(config: dict) -> Path:
    """Return the directory of all products."""
    return Path(resolve("<results>", config))


def database(config: dict) -> str:
    """Return the URL of the APDB."""
    return config["database"] or f"sqlite:///{results(config)}/db/apdb.sqlite"


def moving_objects(config: dict) -> Path:
    """Return the moving-object database."""
    return results(config) / "db" / "moving_objects.sqlite"


def camera_path(config: dict) -> Path:
    """Return the description of the camera, of the working directory or of this clone."""
    path = Path("config/instruments") / f"{config['instrument']}.yaml"
    return path if path.is_file() else CLONE / path


def _read(path) -> dict[str, Any]:
    if not Path(path).is_file():
        raise BadInput(f"there is no configuration {path}. Check the name after --configfile.")
    with open(path, encoding="utf-8") as handle:
        try:
            content = yaml.safe_load(handle) or {}
        except yaml.YAMLError as error:
            where = str(error).replace("\n", " ")
            raise BadInput(f"{path} is no valid YAML: {where}. Mend that line.") from error
    if not isinstance(content, dict):
        raise BadInput(f"{path} holds a {type(content).__name__}, not keys with values. Mend it.")
    return content
