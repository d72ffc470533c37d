"""How a command gets at the database: through the process that owns it, or on its own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracetaxa.config import Config
    from tracetaxa.store.database import ClickHouse
    from tracetaxa.store.owner import Owner


def owner_of(config: Config) -> Owner | None:
    """The process that owns the embedded database; None when nobody does, or it is a server."""
    from tracetaxa.store.dsn import parse_dsn
    from tracetaxa.store.owner import find_owner

    dsn = parse_dsn(config.store.dsn)
    return find_owner(dsn.path) if dsn.path is not None else None


@contextlib.contextmanager
def reading(config: Config, command: str) -> Iterator[ClickHouse]:
    """The database, to read from; `command` is what other processes are told about this one."""
    from tracetaxa.access import open_for_reading

    store = open_for_reading(config, command)
    try:
        yield store
    finally:
        store.close()
