"""The shape of a JSON value: its keys in order and the types of its values, compared with a golden file.

`TRACETAXA_UPDATE_GOLDENS=1` writes the files anew; a change there is a change of a contract.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

GOLDENS = Path(__file__).parent / "data" / "contracts"
UPDATE = bool(os.environ.get("TRACETAXA_UPDATE_GOLDENS"))
MAPS = frozenset({"feedback", "attributes"})
"""Keys whose values are maps with free keys."""


def shape(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        if key in MAPS:
            return {"*": sorted({json.dumps(shape(v)) for v in value.values()})}
        return {name: shape(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        shapes = {json.dumps(shape(inner)): shape(inner) for inner in value}
        return [shapes[name] for name in sorted(shapes)]
    return "null" if value is None else type(value).__name__


def assert_shape(name: str, value: Any) -> None:
    path = GOLDENS / f"{name}.json"
    found = json.dumps(shape(value), indent=1) + "\n"
    if UPDATE:
        path.write_text(found, "utf-8")
    assert found == path.read_text("utf-8")
