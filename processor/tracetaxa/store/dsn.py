"""Where ClickHouse is: `chdb://path`, `clickhouse://user:password@host:port` or `clickhouses://…` (TLS).

Parsed here because the driver reads relative embedded paths and the TLS scheme differently.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tracetaxa.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FORMS = (
    "chdb://./directory, chdb:///absolute/directory, clickhouse://user:password@host:8123 or clickhouses://…"
)


@dataclass(frozen=True, slots=True)
class Dsn:
    """`path` is set for the embedded engine, `host` for a server."""

    path: Path | None = None
    host: str = ""
    port: int = 0
    secure: bool = False
    user: str = "default"
    password: str = field(default="", repr=False)

    @property
    def embedded(self) -> bool:
        return self.path is not None

    def arguments(self) -> Mapping[str, Any]:
        """What `clickhouse_connect.get_client` takes."""
        if self.path is not None:
            return {"dsn": f"chdb://{self.path}"}
        return {
            "host": self.host,
            "port": self.port,
            "secure": self.secure,
            "username": self.user,
            "password": self.password,
        }

    def __str__(self) -> str:
        """Without the password."""
        if self.path is not None:
            return f"chdb://{self.path}"
        return f"clickhouse{'s' if self.secure else ''}://{self.user}@{self.host}:{self.port}"


def parse_dsn(text: str) -> Dsn:
    """Raises ConfigError. A relative embedded path is relative to the working directory."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in {"chdb", "clickhouse", "clickhouses"}:
        raise ConfigError(f"store.dsn: unknown form; use {FORMS}")
    if scheme == "chdb":
        if not rest or "?" in rest:
            raise ConfigError(f"store.dsn: an embedded database needs a directory, as in {FORMS}")
        return Dsn(path=Path(rest).expanduser().absolute())
    secure = scheme == "clickhouses"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"store.dsn: {error}; use {FORMS}") from error
    if not host or parts.path.strip("/") or parts.query:
        raise ConfigError(f"store.dsn: use {FORMS}; the database goes into store.database")
    return Dsn(
        host=host,
        port=port or (8443 if secure else 8123),
        secure=secure,
        user=unquote(parts.username or "default"),
        password=unquote(parts.password or ""),
    )
