"""Writing to standard output: as wide as the terminal, and nothing that would command it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from typing import Any

WIDTH = 80
_UNSAFE = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]")
"""Of what JSON leaves as it is: C1 controls, directions, halves of surrogate pairs, tag characters."""


def width() -> int:
    """Of the terminal, within what reads well; 80 where there is none."""
    return min(max(shutil.get_terminal_size((WIDTH, 24)).columns, 60), 120)


def write_document(document: dict[str, Any]) -> None:
    """A document as JSON."""
    write_untrusted(json_text(document).encode("utf-8", "replace"))


def json_text(document: Any) -> str:
    """JSON whose strings spell out what could command a terminal or reorder text, wherever it ends up."""
    text = json.dumps(document, ensure_ascii=False, indent=2)
    return _UNSAFE.sub(lambda match: json.dumps(match[0])[1:-1], text) + "\n"


def write_untrusted(data: bytes) -> None:
    """With the text of users in it: a terminal must show it and not obey it."""
    from tracetaxa.store.display import safe_for_terminal

    sys.stdout.buffer.write(safe_for_terminal(data) if sys.stdout.isatty() else data)
    sys.stdout.flush()
