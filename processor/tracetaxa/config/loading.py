"""From a YAML file and the environment to a `Config`, with mistakes told by line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml
from pydantic import (
    BaseModel,
    ValidationError,
)
from pydantic_settings import SettingsError

from tracetaxa.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

from tracetaxa.config.analysis import AnalysisConfig
from tracetaxa.config.root import Config
from tracetaxa.config.values import unknown
from tracetaxa.config.wording import plainly


def parse_analysis(values: dict[str, Any]) -> AnalysisConfig:
    """An analysis from plain values. Raises ConfigError with one line per mistake."""
    try:
        return AnalysisConfig(**values)
    except ValidationError as error:
        name = values.get("name", "")
        lines = [f"analysis {name}: {'.'.join(map(str, p['loc']))}: {plainly(p)}" for p in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def load(path: Path | None = None) -> Config:
    """The configuration from `path` (default: tracetaxa.yaml if it is there) and the environment.

    Raises ConfigError with one line per mistake, each naming its place and, for unknown keys, the nearest
    known one.
    """
    if path is None:
        path = Path("tracetaxa.yaml")
        text = path.read_text("utf-8") if path.exists() else ""
    else:
        try:
            text = path.read_text("utf-8")
        except OSError as error:
            raise ConfigError(f"can't read the configuration {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"the configuration {path} is not text in UTF-8") from error
    try:
        values = yaml.safe_load(text) or {}
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold sections such as `store:` and `analyses:`")
    _refuse_unknown_environment()
    try:
        return Config(**values)
    except ValidationError as error:
        raise ConfigError("\n".join(_describe(error, path, tree))) from error
    except SettingsError as error:
        raise ConfigError(f"environment: {error}") from error


def _refuse_unknown_environment() -> None:
    prefix = "TRACETAXA_"
    for variable in os.environ:
        if variable.startswith(prefix) and "__" in variable:
            section = variable.removeprefix(prefix).split("__")[0].lower()
            if section not in Config.model_fields:
                raise ConfigError(
                    f"environment variable {variable}: {unknown(section, list(Config.model_fields))}"
                )


def _describe(error: ValidationError, path: Path, tree: yaml.Node | None) -> Iterator[str]:
    for problem in error.errors():
        location = (*problem["loc"], *getattr(problem.get("ctx", {}).get("error"), "at", ()))
        place = ".".join(str(part) for part in location) or "configuration"
        line = _line(tree, location)
        where = f"{path}:{line}: {place}" if line else f"{path} or environment: {place}"
        if problem["type"] == "extra_forbidden":
            yield f"{where}: {unknown(str(location[-1]), _known_keys(location[:-1]))}"
        else:
            yield f"{where}: {plainly(problem)}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            found = model_in(model.model_fields[part].annotation)
            if found is None:
                return []
            model = found
    return list(model.model_fields)


def model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for argument in get_args(annotation) if (model := model_in(argument))), None)


def _line(node: yaml.Node | None, location: tuple[int | str, ...]) -> int | None:
    line = None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line
