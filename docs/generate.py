"""Writes the pages that come from code: `python docs/generate.py`. A test fails when one is stale."""

from __future__ import annotations

import ast
import inspect
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic_core import PydanticUndefined

from tracetaxa.config import Config
from tracetaxa.config.loading import model_in

if TYPE_CHECKING:
    from pydantic import BaseModel

Entry = tuple[str, Any, str]
"""Key, pydantic's field, and what it does."""

HEAD = """# Configuration

A YAML file (`--config FILE`, default `tracetaxa.yaml`), over built-in values. Any key can be set in the
environment as `TRACETAXA_<SECTION>__<KEY>`, for example `TRACETAXA_RECEIVER__GRPC__ENDPOINT=0.0.0.0:4317`.
Unknown keys are refused, with the nearest known one. Keys of models come from the environment only
(`OPENAI_API_KEY`), never from this file.

This page is made from the code by `docs/generate.py`.
"""


def configuration() -> str:
    """The page docs/configuration.md."""
    lines = [HEAD]
    told = _docstrings(Config)
    own = [(n, f, told[n]) for n, f in Config.model_fields.items() if model_in(f.annotation) is None]
    lines += ["## Top level", "", *_table(own)]
    for name, field in Config.model_fields.items():
        model = model_in(field.annotation)
        if model is not None:
            listed = " (a list)" if name == "analyses" else ""
            lines += ["", f"## `{name}`{listed}", "", *_table(_flattened("", model))]
    return "\n".join(lines) + "\n"


def _flattened(prefix: str, model: type[BaseModel]) -> list[Entry]:
    found: list[Entry] = []
    told = _docstrings(model)
    for name, field in model.model_fields.items():
        inner = model_in(field.annotation)
        if inner is None:
            found.append((prefix + name, field, told.get(name, "")))
        elif isinstance(field.default, inner):
            found += _flattened(f"{prefix}{name}.", inner)
        elif get_origin(field.annotation) is dict:
            found += _flattened(f"{prefix}{name}.<name>.", inner)
        elif get_origin(field.annotation) is tuple:
            found += _flattened(f"{prefix}{name}[].", inner)
        else:  # a section that is not there unless it is written
            found.append((prefix + name, field, told.get(name, "")))
            found += _flattened(f"{prefix}{name}.", inner)
    return found


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """What stands below each field. Pydantic could read it too, but then at each start of the product."""
    found: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if part.__module__.startswith("tracetaxa."):
            (definition,) = ast.parse(inspect.getsource(part)).body
            assert isinstance(definition, ast.ClassDef)
            for field, below in pairwise(definition.body):
                match field, below:
                    case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                        found[name] = text
    return found


def _table(entries: list[Entry]) -> list[str]:
    rows = ["| key | default | what it does |", "|---|---|---|"]
    for name, field, told in entries:
        if field.default is PydanticUndefined:
            default = "required"
        else:
            default = f"`{field.default}`" if field.default not in ("", None, (), {}) else "–"
        text = " ".join(told.split())
        if choices := _choices(field.annotation):
            text += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
        rows.append(f"| `{name}` | {default} | {text.replace('|', chr(92) + '|')} |")
    return rows


def _choices(annotation: Any) -> list[Any]:
    """The values of a Literal, the empty one (not set) left out."""
    if get_origin(annotation) is Literal:
        return [value for value in get_args(annotation) if value != ""]
    return []


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` only say whether it is current."""
    page = Path(__file__).with_name("configuration.md")
    if arguments == ["--check"]:
        if page.read_text("utf-8") == configuration():
            return 0
        print(f"{page.name} is stale: run python docs/generate.py", file=sys.stderr)
        return 1
    page.write_text(configuration(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
