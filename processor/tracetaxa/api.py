"""The API port: report pages for people, JSON for programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tracetaxa.analyze.results.document import rfc3339
from tracetaxa.assemble.feedback import load_feedback, load_session_feedback
from tracetaxa.config import parse_analysis
from tracetaxa.errors import ConfigError, MalformedRequest, NotFound, StoreUnavailable, TracetaxaError
from tracetaxa.feedback import FeedbackInvalid, items_of, parse_feedback
from tracetaxa.jobs import RunRequest, parse_time, quote_json, result_json
from tracetaxa.labelling.classifiers import choose_classifier, list_classifiers
from tracetaxa.people.items import LabelInvalid, parse_label
from tracetaxa.people.items import items_of as labels_of
from tracetaxa.people.labels import give_labels, list_labels
from tracetaxa.records import Feedback, ReportRow, RunRow, Standing
from tracetaxa.report.html import content_security_policy, render_html, render_index
from tracetaxa.schedule.history import run_history
from tracetaxa.web import Guarded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from tracetaxa.config import Config
    from tracetaxa.schedule.runs import Runs
    from tracetaxa.store.database import ClickHouse

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1 << 20
RUNS_LISTED = 200
LABELS_LISTED = 1000
_DAY_NS = 86_400 * 10**9
_PAGE_HEADERS = {
    "Content-Security-Policy": f"{content_security_policy()}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_api(
    config: Config,
    db: ClickHouse,
    status: Callable[[], Awaitable[dict[str, Any]]],
    runs: Runs,
    token: str | None,
) -> ASGIApp:
    """`status` answers /v1/status; analyses start from `runs`."""
    api = _Api(config, db, status, runs)
    routes = [
        Route("/", api.index),
        Route("/reports/{run_id}", api.report_page),
        Route("/v1/status", api.status),
        Route("/v1/runs", api.list_runs, methods=["GET"]),
        Route("/v1/runs", api.start_run, methods=["POST"]),
        Route("/v1/quotes", api.quote, methods=["POST"]),
        Route("/v1/runs/{run_id}", api.run),
        Route("/v1/runs/{run_id}/report", api.report),
        Route("/v1/feedback", api.feedback, methods=["GET"]),
        Route("/v1/feedback", api.give_feedback, methods=["POST"]),
        Route("/v1/labels", api.labels, methods=["GET"]),
        Route("/v1/labels", api.give_labels, methods=["POST"]),
        Route("/v1/classifiers", api.classifiers, methods=["GET"]),
        Route("/v1/classifiers", api.choose_classifier, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {TracetaxaError: _error, Exception: _unexpected}
    return Guarded(Starlette(routes=routes, exception_handlers=handlers), token)


class _Api:
    def __init__(
        self,
        config: Config,
        db: ClickHouse,
        status: Callable[[], Awaitable[dict[str, Any]]],
        runs: Runs,
    ) -> None:
        self._config = config
        self._db = db
        self._status = status
        self._runs = runs

    async def index(self, request: Request) -> Response:
        runs = await run_history(self._db, "", RUNS_LISTED)
        return HTMLResponse(render_index(runs), headers=_PAGE_HEADERS)

    async def report_page(self, request: Request) -> Response:
        page = await asyncio.to_thread(render_html, await self._document(request))
        return HTMLResponse(page, headers=_PAGE_HEADERS)

    async def status(self, request: Request) -> Response:
        return JSONResponse(await self._status())

    async def list_runs(self, request: Request) -> Response:
        analysis = request.query_params.get("analysis", "")
        return JSONResponse({"runs": await run_history(self._db, analysis, RUNS_LISTED)})

    async def run(self, request: Request) -> Response:
        run_id = request.path_params["run_id"]
        found = await self._db.records("reading/run_by_id", RunRow, run_id=run_id)
        if not found:
            raise NotFound(f"no run {run_id!r}")
        return JSONResponse(result_json(found[0]))

    async def report(self, request: Request) -> Response:
        return JSONResponse(await self._document(request))

    async def _document(self, request: Request) -> dict[str, Any]:
        run_id = request.path_params["run_id"]
        found = await self._db.records("reading/report_by_run", ReportRow, run_id=run_id)
        if not found:
            raise NotFound(f"no report of run {run_id!r}")
        document: dict[str, Any] = json.loads(found[0].document)
        return document

    async def feedback(self, request: Request) -> Response:
        """What is stored on the trace `?trace_id=` and its spans, or on the session `?session_id=` itself."""
        trace_id = request.query_params.get("trace_id", "").lower()
        session_id = request.query_params.get("session_id", "")
        if bool(trace_id) == bool(session_id):
            raise MalformedRequest("ask with one of trace_id and session_id")
        if trace_id:
            found = (await load_feedback(self._db, [trace_id])).get(trace_id, [])
        else:
            found = (await load_session_feedback(self._db, [session_id])).get(session_id, [])
        return JSONResponse({"feedback": [_feedback_json(given) for given in found]})

    async def give_feedback(self, request: Request) -> Response:
        """Store what is good, say what is wrong with the rest.

        200 when nothing was refused, 400 when nothing was accepted, otherwise 207. Answers `accepted`,
        `feedback_ids` (one an item, null for a refused one) and `refused` (`index` and `error`).
        """
        body = await _json_body(request)
        now_ns = time.time_ns()
        oldest_ns = now_ns - self._config.store.retention_days * _DAY_NS
        try:
            items = items_of(body)
        except FeedbackInvalid as error:
            raise MalformedRequest(str(error)) from error
        accepted: list[Feedback] = []
        ids: list[str | None] = []
        refused: list[dict[str, Any]] = []
        for index, item in enumerate(items):
            try:
                given = parse_feedback(item, "api", now_ns, oldest_ns=oldest_ns)
            except FeedbackInvalid as error:
                ids.append(None)
                refused.append({"index": index, "error": str(error)})
            else:
                ids.append(given.feedback_id)
                accepted.append(given)
        await self._db.insert("feedback", accepted)
        return JSONResponse(
            {"accepted": len(accepted), "feedback_ids": ids, "refused": refused},
            status_code=200 if not refused else 207 if accepted else 400,
        )

    async def labels(self, request: Request) -> Response:
        """Labels by people that count, the newest first; of `?analysis=`, `?trace_id=`, `?session_id=`."""
        asked = request.query_params
        found = await list_labels(
            self._db,
            analysis=asked.get("analysis", ""),
            trace_id=asked.get("trace_id", "").lower(),
            session_id=asked.get("session_id", ""),
            most=LABELS_LISTED,
        )
        return JSONResponse({"labels": found})

    async def give_labels(self, request: Request) -> Response:
        """As `give_feedback`: 200, 207 or 400. Answers `accepted`, `labels` (null for a refused one) and
        `refused` (`index` and `error`)."""
        try:
            items = labels_of(await _json_body(request))
        except LabelInvalid as error:
            raise MalformedRequest(str(error)) from error
        errors: dict[int, str] = {}
        given = {}
        for index, item in enumerate(items):
            try:
                given[index] = parse_label(item)
            except LabelInvalid as error:
                errors[index] = str(error)
        outcomes = await give_labels(self._db, list(given.values()), time.time_ns())
        stored = dict(zip(given, outcomes, strict=True))
        errors |= {index: outcome.error for index, outcome in stored.items() if outcome.error}
        accepted = len(items) - len(errors)
        return JSONResponse(
            {
                "accepted": accepted,
                "labels": [None if i in errors else stored[i].as_dict() for i in range(len(items))],
                "refused": [{"index": index, "error": errors[index]} for index in sorted(errors)],
            },
            status_code=200 if not errors else 207 if accepted else 400,
        )

    async def classifiers(self, request: Request) -> Response:
        """What was learned from runs, the newest first; of `?analysis=`."""
        analysis = request.query_params.get("analysis", "")
        return JSONResponse({"classifiers": await list_classifiers(self._db, analysis, RUNS_LISTED)})

    async def choose_classifier(self, request: Request) -> Response:
        """Have one of them label from now on."""
        return JSONResponse(await choose_classifier(self._db, await _json_body(request)))

    async def quote(self, request: Request) -> Response:
        """What the run that the request asks for would cost. Writes nothing, calls no model."""
        wanted = await _run_request(request)
        return JSONResponse(quote_json(await self._runs.quote(wanted)))

    async def start_run(self, request: Request) -> Response:
        """Run an analysis. Answers lines of JSON: progress, then `{"result": …}` or `{"error": …}`.

        Closing the connection cancels the run.
        """
        return StreamingResponse(
            self._run_lines(await _run_request(request)), media_type="application/x-ndjson"
        )

    async def _run_lines(self, wanted: RunRequest) -> AsyncIterator[str]:
        lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        def progress(stage: str, done: int, total: int, standing: Standing | None = None) -> None:
            told = asdict(standing) if standing is not None else None
            lines.put_nowait({"stage": stage, "done": done, "total": total, "standing": told})

        async def work() -> None:
            try:
                run = await self._runs.run(wanted, progress)
                lines.put_nowait({"result": result_json(run)})
            except TracetaxaError as error:
                lines.put_nowait({"error": str(error), "exit_code": error.exit_code})
            except Exception as error:
                log.exception("analysis %s broke", wanted.analysis)
                lines.put_nowait({"error": f"unexpected {type(error).__name__}: {error}", "exit_code": 1})

        task = asyncio.create_task(work())
        try:
            while True:
                line = await lines.get()
                yield json.dumps(line) + "\n"
                if "result" in line or "error" in line:
                    return
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


_RUN_FIELDS = {
    "analysis": str,
    "instructions": str,
    "window": str,
    "from": str,
    "to": str,
    "engine": str,
    "sample_size": int,
    "seed": int,
    "stability": bool,
    "definition": dict,
}
_KIND_NAMES = {str: "text", int: "a whole number", bool: "true or false", dict: "an object"}


async def _json_body(request: Request) -> Any:
    """Raises MalformedRequest.

    Only application/json: a browser asks before it sends that for a page from elsewhere, and is not allowed.
    """
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise MalformedRequest("send the request as application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise MalformedRequest(f"the request is larger than {MAX_BODY_BYTES} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the request is not JSON: {error}") from error


async def _run_request(request: Request) -> RunRequest:
    values = await _json_body(request)
    if not isinstance(values, dict) or "analysis" not in values:
        raise ConfigError('the request must be an object with at least {"analysis": NAME}')
    for name, value in values.items():
        kind = _RUN_FIELDS.get(name)
        if kind is None:
            raise ConfigError(f"unknown field {name!r}; known: {', '.join(_RUN_FIELDS)}")
        if value is not None and type(value) is not kind:
            raise ConfigError(f"{name} must be {_KIND_NAMES[kind]}")
    definition = values.get("definition")
    return RunRequest(
        analysis=values["analysis"],
        instructions=values.get("instructions"),
        window_start_ns=parse_time(values["from"]) if values.get("from") else None,
        window_end_ns=parse_time(values["to"]) if values.get("to") else None,
        window=values.get("window"),
        engine=values.get("engine"),
        sample_size=values.get("sample_size"),
        seed=values.get("seed"),
        stability=values.get("stability"),
        definition=None if definition is None else parse_analysis(definition | {"name": values["analysis"]}),
    )


def _feedback_json(given: Feedback) -> dict[str, Any]:
    values = asdict(given)
    return values | {"given_at": rfc3339(values.pop("given_at_ns"))}


async def _error(request: Request, error: Exception) -> Response:
    if isinstance(error, NotFound):
        code = 404
    elif isinstance(error, StoreUnavailable):
        code = 503
    elif isinstance(error, MalformedRequest) or (isinstance(error, TracetaxaError) and error.exit_code == 2):
        code = 400
    else:
        code = 500
    return JSONResponse({"error": str(error)}, status_code=code)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.exception("request %s %s broke", request.method, request.url.path, exc_info=error)
    return JSONResponse({"error": "internal error; the service's log has the details"}, status_code=500)
