"""Ids as a parameter of a statement, in as many questions as it takes.

The driver sends parameters to a server in the address, and from 4 kB on as fields of a form
(clickhouse-connect, `use_form_encoding`). A server takes 128 KiB in one field (`http_max_field_value_size`):
longer lists are asked for in parts. The embedded engine has no such limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_CHARS = 64 * 1024
"""Of one list as it is sent."""


def in_parts(ids: Sequence[str], max_chars: int = MAX_CHARS) -> Iterator[list[str]]:
    """The ids in order, in lists that can be sent; each holds at least one."""
    part: list[str] = []
    chars = 0
    for identity in ids:
        sent = _sent_chars(identity)
        if part and chars + sent > max_chars:
            yield part
            part, chars = [], 0
        part.append(identity)
        chars += sent
    if part:
        yield part


def _sent_chars(identity: str) -> int:
    """At most: quotes and a comma, and characters that are escaped twice."""
    if identity.isascii() and identity.isalnum():
        return len(identity) + 3
    return 4 * len(identity.encode("utf-8", "replace")) + 3
