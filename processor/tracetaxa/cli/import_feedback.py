"""`tracetaxa import --feedback`: through the service that owns the database, else into it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

from tracetaxa.cli.database import owner_of
from tracetaxa.cli.import_outcome import chosen_columns, print_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracetaxa.config import Config


def import_feedback(
    config: Config,
    sources: Iterator[Any],
    columns: tuple[str, ...],
    oldest_ns: int,
    dry_run: bool,
    show_problems: int,
    form: str,
) -> None:
    """Feedback on anything before `oldest_ns` is refused. Ends the process with its exit code."""
    from tracetaxa.feedback import parse_feedback
    from tracetaxa.imports import feedback as rows

    now_ns = time.time_ns()
    chosen = chosen_columns(columns, rows.FIELDS)
    with _sink(config, dry_run) as store:
        summary = rows.import_feedback(
            sources,
            chosen,
            lambda item: parse_feedback(item, "import", now_ns, oldest_ns=oldest_ns),
            store,
            shown_problems=show_problems,
        )
    done = f"{summary.accepted} pieces of feedback {'would be ' * dry_run}imported"
    print_outcome(summary.as_dict(), done, form)
    sys.exit(1 if not summary.accepted else 3 if summary.bad or summary.refused else 0)


@contextlib.contextmanager
def _sink(config: Config, dry_run: bool) -> Iterator[Callable[[Any], dict[int, str]]]:
    """Stores (fields, record) pairs; returns why which of them were refused."""
    from tracetaxa.access import open_store, read_token
    from tracetaxa.imports.sinks import post_feedback

    owner = None if dry_run else owner_of(config)
    if dry_run:
        yield lambda batch: {}
    elif owner and "api" in owner.endpoints:
        endpoint, token = owner.endpoints["api"], read_token(config)
        yield lambda batch: post_feedback(endpoint, token, [item for item, _ in batch])
    else:
        store = open_store(config, "import")

        def insert(batch: Any) -> dict[int, str]:
            asyncio.run(store.insert("feedback", [given for _, given in batch]))
            return {}

        try:
            yield insert
        finally:
            store.close()
