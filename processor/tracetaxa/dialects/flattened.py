"""Nested values that instrumentations flatten into attributes: `messages.0.role`, `messages.0.content`, …"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_DEPTH = 10


def unflatten(attributes: Mapping[str, Any], prefix: str) -> Any:
    """What stands below `prefix` (which ends with a dot): dicts, and lists where all keys are numbers.

    None when there is nothing. Lists are in the order of their numbers, gaps closed.
    """
    tree: dict[str, Any] = {}
    start = len(prefix)
    for key, value in attributes.items():
        if not key.startswith(prefix):
            continue
        *path, last = key[start:].split(".", _MAX_DEPTH)
        node = tree
        for part in path:
            inner = node.get(part)
            if not isinstance(inner, dict):
                inner = node[part] = {}
            node = inner
        if not isinstance(node.get(last), dict):
            node[last] = value
    return _with_lists(tree) if tree else None


def _with_lists(node: dict[str, Any]) -> Any:
    for key, value in node.items():
        if isinstance(value, dict):
            node[key] = _with_lists(value)
    if not all(key.isascii() and key.isdigit() and len(key) < 10 for key in node):
        return node
    return [node[key] for key in sorted(node, key=int)]
