"""The product as an outsider meets it: a configuration, the command line, a service in a child process."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tracetaxa.demo.child import Service, child_environment
from tracetaxa.store.owner import find_owner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND_SECONDS = 300
QUERY_SECONDS = 60


@dataclass(frozen=True)
class Product:
    """A configuration in a directory of its own, and the command line on it."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def configure(self, **sections: Any) -> Product:
        any_port = {"endpoint": "127.0.0.1:0"}
        config = {
            "store": {"dsn": f"chdb://{self.directory / 'data'}"},
            "receiver": {"linger_ms": 5},
            "assembly": {"idle_seconds": 0.3, "orphan_idle_seconds": 0.3, "tick_seconds": 0.1},
            "api": any_port,
            "sql": any_port,
            "health": any_port,
            "metrics": any_port,
        }
        config |= sections
        config["receiver"] = {"grpc": any_port, "http": any_port} | config["receiver"]
        self.config.write_text(json.dumps(config), "utf-8")
        return self

    @property
    def config(self) -> Path:
        return self.directory / "tracetaxa.yaml"

    def serve(self) -> Service:
        return Service(self.config, self.directory / "serve.log")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tracetaxa.cli", *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            env=child_environment() | {"COLUMNS": "80"} | self.environment,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def json(self, *arguments: str, exit_code: int = 0) -> Any:
        done = self.run(*arguments)
        assert done.returncode == exit_code, done.stderr
        return json.loads(done.stdout)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """By the SQL endpoint of the running service, which starts no process; without one by `tracetaxa query`."""
        owner = find_owner(self.directory / "data")
        if owner is None or "sql" not in owner.endpoints:
            return self.json("query", sql, "--format", "json")["data"]
        form = {"database": "otel", "default_format": "JSON", "output_format_json_quote_64bit_integers": 0}
        url = f"http://{owner.endpoints['sql']}/?{urllib.parse.urlencode(form)}"
        with urllib.request.urlopen(url, sql.encode(), timeout=QUERY_SECONDS) as answer:
            return json.load(answer)["data"]


@dataclass(frozen=True)
class Served:
    """A product whose service runs, for the tests of a module."""

    product: Product
    service: Service


@contextlib.contextmanager
def served(product: Product) -> Iterator[Served]:
    """At the end the service stops as it should."""
    with product.serve() as service:
        yield Served(product, service)
        assert service.stop() == 0
