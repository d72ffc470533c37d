"""Answers of models in `model_replies`: implements protocols.ReplyCache."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from tracetaxa.protocols import ChatReply
from tracetaxa.records import ModelReplyRow

if TYPE_CHECKING:
    from tracetaxa.protocols import Database

_KEY_CHARS = 16
"""Of a fingerprint so much is kept in memory: enough that two are hardly ever taken for each other."""


class StoredReplies:
    """Answers younger than `max_age_seconds` are found; older ones are asked for again.

    For one run, within one event loop: what is stored is looked up once, so that an answer of another
    process that comes later is not found. Answers that come at the same time share an insert.
    """

    def __init__(self, db: Database, max_age_seconds: float) -> None:
        self._db = db
        self._max_age_ns = int(max_age_seconds * 10**9)
        self._known: set[str] | None = None
        self._waiting: list[ModelReplyRow] = []
        self._turn = asyncio.Lock()

    async def find(self, fingerprint: str) -> ChatReply | None:
        oldest_ns = max(0, time.time_ns() - self._max_age_ns)
        async with self._turn:
            if self._known is None:
                [stored] = await self._db.rows(
                    "analysis/model_reply_keys", length=_KEY_CHARS, oldest_ns=oldest_ns
                )
                self._known = set(stored["Known"])
        if fingerprint[:_KEY_CHARS] not in self._known:
            return None
        found = await self._db.records(
            "analysis/model_reply", ModelReplyRow, fingerprint=fingerprint, oldest_ns=oldest_ns
        )
        if not found:
            return None
        row = found[0]
        data = json.loads(row.data)
        return ChatReply(row.text, data, row.model, row.input_tokens, row.output_tokens, row.cached_tokens)

    async def keep(self, fingerprint: str, reply: ChatReply) -> None:
        """Stored when it returns, so that a killed run has it."""
        row = ModelReplyRow(
            fingerprint=fingerprint,
            model=reply.model,
            text=reply.text,
            data=json.dumps(reply.data),
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            cached_tokens=reply.cached_tokens,
            answered_at_ns=time.time_ns(),
        )
        self._waiting.append(row)
        async with self._turn:
            if row in self._waiting:  # else whoever had the turn has stored it
                rows, self._waiting = self._waiting, []
                await self._db.insert("model_replies", rows)
        if self._known is not None:
            self._known.add(fingerprint[:_KEY_CHARS])
