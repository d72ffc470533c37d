"""The database that a configuration names, opened for a command, and what the service's doors ask for.

Apart from service.py, so that a command that only asks something starts without everything that serves.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tracetaxa.errors import ConfigError
from tracetaxa.records import ABANDONED
from tracetaxa.store.database import ClickHouse, statement
from tracetaxa.store.dsn import parse_dsn
from tracetaxa.store.migrate import migrate
from tracetaxa_exporter.clickhouse import create_tables

if TYPE_CHECKING:
    from pathlib import Path

    from tracetaxa.config import Config

MIN_TOKEN_CHARACTERS = 16


def open_store(config: Config, command: str) -> ClickHouse:
    """The database with its schema up to date, for the one process that may change it."""
    store = ClickHouse.open(
        parse_dsn(config.store.dsn),
        config.store.database,
        config.store.readers,
        command=command,
        cluster=config.store.cluster,
    )
    try:
        prepare_schema(store, config)
    except BaseException:
        store.close()
        raise
    return store


def prepare_schema(store: ClickHouse, config: Config) -> list[str]:
    """Create what is missing; returns the migrations that were applied."""
    client = store.connect()
    create_tables(client, config.store.retention_days, store.cluster)
    applied = migrate(client, config.store.retention_days, store.cluster)
    if store.dsn.embedded:
        client.command(
            statement("schedule/fail_abandoned_runs"), parameters={"error": ABANDONED, "lease_ms": 0}
        )
    return [f"{m.version:04d}_{m.name}" for m in applied]


def open_for_reading(config: Config, command: str) -> ClickHouse:
    """The database to look at: directly, or through the service that owns it."""
    return ClickHouse.open_for_reading(
        parse_dsn(config.store.dsn),
        config.store.database,
        token=read_token(config) or "",
        command=command,
        cluster=config.store.cluster,
    )


def read_token(config: Config) -> str | None:
    """The API's bearer token, None when none is set. Raises ConfigError for one that is easy to guess."""
    path = config.api.token_file
    if path is None:
        return None
    try:
        token = path.read_text("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"api.token_file: can't read {path}: {error.strerror}") from error
    if len(token) < MIN_TOKEN_CHARACTERS:
        raise ConfigError(
            f"api.token_file: the token in {path} is shorter than {MIN_TOKEN_CHARACTERS} characters"
        )
    return token


def read_headers(path: Path, key: str) -> dict[str, str]:
    """`name: value` a line, names in lower case; empty lines and those that begin with # say nothing.

    Raises ConfigError, which tells the line and no value.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{key}: can't read {path}: {problem}") from error
    headers: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or not (value.isascii() and value.strip().isprintable()):
            raise ConfigError(f"{key}: line {number} of {path} is not `name: value`")
        headers[name.strip().lower()] = value.strip()
    return headers


def running_configuration(config: Config) -> str:
    """Fingerprint of what runs depend on beside their analysis; commands compare it with theirs."""
    text = config.model_dump_json(include={"llm", "privacy"})
    return hashlib.sha256(text.encode()).hexdigest()[:12]
