"""`tracetaxa check`: is everything here that a service with this configuration needs?"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tracetaxa.access import open_for_reading, read_token
from tracetaxa.analyze.results.document import rfc3339
from tracetaxa.config import Config, split_endpoint
from tracetaxa.errors import DatabaseInUse, NotFound, StoreError, TracetaxaError
from tracetaxa.forwarding import try_destination
from tracetaxa.jobs import build_chat, check_where, choose_engine, describe_prices
from tracetaxa.privacy import describe_redaction
from tracetaxa.schedule.times import Schedule
from tracetaxa.service import check_exposure, make_tls, read_credential
from tracetaxa.store.database import statement
from tracetaxa.store.dsn import parse_dsn
from tracetaxa.store.migrate import migrations
from tracetaxa.store.owner import Owner, find_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracetaxa.config import ReceiverConfig
    from tracetaxa.store.database import ClickHouse

MODEL_TIMEOUT_SECONDS = 10.0
PEOPLE_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    ok: bool
    detail: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        advice = f"\n       → {self.advice}" if self.advice else ""
        return f"{'ok  ' if self.ok else 'FAIL'} {self.what}: {self.detail}{advice}"


def check_all(config: Config) -> list[Finding]:
    """One finding per thing; the configuration itself is fine, or it would not have been loaded."""
    dsn = parse_dsn(config.store.dsn)
    owner = find_owner(dsn.path) if dsn.path is not None else None
    findings = [
        Finding("configuration", True, "read"),
        _guarded("access", lambda: _access(config)),
    ]
    if not findings[-1].ok:
        return findings
    for part in (_database, _engine, _endpoints, _receiver, _forwarding, _privacy, _prices, _schedules):
        findings.extend(part(config, owner))
    return findings


def _guarded(what: str, call: Callable[[], str], advice: str = "") -> Finding:
    try:
        return Finding(what, True, call())
    except TracetaxaError as error:
        return Finding(what, False, str(error), advice)


def _access(config: Config) -> str:
    token = read_token(config)
    check_exposure(config, token)
    return "with the token of api.token_file" if token else "without a token, from localhost only"


def _database(config: Config, owner: Owner | None) -> Iterator[Finding]:
    if owner is not None:
        yield Finding("embedded database", True, f"open in process {owner.pid} ({owner.command})")
    try:
        store = open_for_reading(config, "check")
    except (DatabaseInUse, NotFound) as error:
        yield Finding("database", True, str(error))
        return
    except TracetaxaError as error:
        yield Finding(
            "database", False, str(error), "check store.dsn, and that ClickHouse is up and reachable"
        )
        return
    try:
        version = asyncio.run(store.rows("ping"))[0]["version"]
        yield Finding("database", True, f"{store.dsn}, ClickHouse {version}, database {store.database}")
        yield _schema(store)
        if config.privacy.min_users > 1:
            yield _people(store, config.privacy.min_users)
        if store.dsn.embedded:
            for analysis in config.analyses:
                if analysis.filter.where:
                    yield _guarded(
                        f"analysis {analysis.name}",
                        lambda a=analysis: f"filter.where: {asyncio.run(check_where(store, a))}",  # type: ignore[misc]
                    )
    finally:
        store.close()


def _forwarding(config: Config, owner: Owner | None) -> Iterator[Finding]:
    if (otlp := config.exporter.otlp) is not None:
        yield _guarded(
            "forwarding",
            lambda: asyncio.run(try_destination(otlp)),
            "check exporter.otlp, and that the destination is up",
        )


def _people(store: ClickHouse, min_users: int) -> Finding:
    """Whether traffic says whose it is; else a report of it shows no example at all."""
    what = "privacy.min_users"
    start_ns = time.time_ns() - PEOPLE_SECONDS * 10**9
    try:
        ((traces, known),) = (
            row.values() for row in asyncio.run(store.rows("people/known", start_ns=start_ns))
        )
    except StoreError:
        return Finding(what, True, f"{min_users}; there are no traces yet")
    told = f"{min_users}; {known:,} of {traces:,} traces of the last week name a user or a session"
    if known or not traces:
        return Finding(what, True, told)
    return Finding(
        what,
        False,
        f"{told}, so reports show no examples",
        "have the agents send user.id or session.id, or set privacy.min_users to 1",
    )


def _schema(store: Any) -> Finding:
    newest = max(m.version for m in migrations())
    try:
        with store.reader() as client:
            applied = {row[0] for row in client.query(statement("schema/select_ledger")).result_rows}
    except StoreError:
        applied = set()
    missing = newest - len(applied)
    if missing:
        return Finding("schema", True, f"{missing} migrations to apply; `tracetaxa serve` does it by itself")
    return Finding("schema", True, f"version {newest}, up to date")


def _engine(config: Config, owner: Owner | None) -> Iterator[Finding]:
    name = choose_engine(config)
    how = "chosen by auto from this environment" if config.llm.engine == "auto" else "as configured"
    yield Finding("engine", True, f"{name} ({how})")
    if name == "local":
        missing = [m for m in ("sklearn", "onnxruntime", "tokenizers") if find_spec(m) is None]
        if missing:
            yield Finding(
                "local engine",
                False,
                f"not installed: {', '.join(missing)}",
                "pip install 'tracetaxa[local]'",
            )
        return
    yield _guarded(
        "model endpoint",
        lambda: asyncio.run(_ask_model(config)),
        "check OPENAI_API_KEY, OPENAI_BASE_URL and the model names in llm:",
    )


async def _ask_model(config: Config) -> str:
    hurried = {"max_attempts": 1, "max_wait_seconds": 0.0, "timeout_seconds": MODEL_TIMEOUT_SECONDS}
    llm = config.llm.model_copy(update=hurried)
    quick = config.model_copy(update={"llm": llm})
    models = {llm.taxonomy_model: llm.taxonomy_effort, llm.assignment_model: llm.assignment_effort}
    for model, effort in models.items():
        chat = build_chat(quick, model, effort)
        try:
            await chat.complete([{"role": "user", "content": "Answer with the word OK."}], max_tokens=256)
        finally:
            await chat.close()
    where = config.llm.base_url or os.environ.get("OPENAI_BASE_URL") or "the provider's default endpoint"
    return f"{', '.join(models)} at {where}: answers"


def _endpoints(config: Config, owner: Owner | None) -> Iterator[Finding]:
    if owner is not None:
        for name, endpoint in owner.endpoints.items():
            yield Finding(f"{name} endpoint", True, f"served on {endpoint}")
        return
    wanted = {"api.endpoint": config.api.endpoint}
    if config.receiver.enabled:
        wanted["receiver.grpc.endpoint"] = config.receiver.grpc.endpoint
        wanted["receiver.http.endpoint"] = config.receiver.http.endpoint
    if config.sql.enabled and config.store.dsn.startswith("chdb:"):
        wanted["sql.endpoint"] = config.sql.endpoint
    if config.health.enabled:
        wanted["health.endpoint"] = config.health.endpoint
    if config.metrics.enabled:
        wanted["metrics.endpoint"] = config.metrics.endpoint
    for key, endpoint in wanted.items():
        host, port = split_endpoint(endpoint)
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            yield Finding(key, False, f"{endpoint}: {error.strerror}", f"stop what uses it, or set {key}")
        else:
            yield Finding(key, True, f"{endpoint} is free")


def _receiver(config: Config, owner: Owner | None) -> Iterator[Finding]:
    if config.receiver.enabled:
        yield _guarded("receiver", lambda: _receiver_access(config.receiver))


def _receiver_access(receiver: ReceiverConfig) -> str:
    credential = read_credential(receiver.auth)
    spoken = []
    for transport, section in (("grpc", receiver.grpc), ("http", receiver.http)):
        tls = make_tls(section.tls, f"receiver.{transport}.tls")
        if tls is None:
            spoken.append(f"{transport} in plain text")
        else:
            tls.context()
            spoken.append(f"{transport} with {'mutual ' if tls.client_ca_file else ''}TLS")
    senders = "anyone may send" if credential is None else f"senders need the header {credential.header!r}"
    return f"{', '.join(spoken)}; {senders}"


def _prices(config: Config, owner: Owner | None) -> Iterator[Finding]:
    yield Finding("prices", True, describe_prices(config))


def _privacy(config: Config, owner: Owner | None) -> Iterator[Finding]:
    yield Finding("redaction", True, describe_redaction(config, choose_engine(config)))


def _schedules(config: Config, owner: Owner | None) -> Iterator[Finding]:
    for analysis in config.analyses:
        if analysis.schedule is not None:
            following = rfc3339(Schedule(analysis.schedule, analysis.time_zone).next(time.time_ns()))
            detail = f"{analysis.schedule} {analysis.time_zone}, next {following}"
            if not config.scheduler.enabled:
                detail += ", by another process (scheduler.enabled is off)"
            yield Finding(f"schedule of {analysis.name}", True, detail)
