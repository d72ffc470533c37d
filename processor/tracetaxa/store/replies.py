"""Answers of models in `model_replies`: implements protocols.ReplyCache."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from tracetaxa.protocols import ChatReply
from tracetaxa.records import ModelReplyRow

if TYPE_CHECKING:
    from tracetaxa.protocols import Database


class StoredReplies:
    """Answers younger than `max_age_seconds` are found; older ones are asked for again."""

    def __init__(self, db: Database, max_age_seconds: float) -> None:
        self._db = db
        self._max_age_ns = int(max_age_seconds * 10**9)

    async def find(self, fingerprint: str) -> ChatReply | None:
        oldest_ns = max(0, time.time_ns() - self._max_age_ns)
        found = await self._db.records(
            "model_reply", ModelReplyRow, fingerprint=fingerprint, oldest_ns=oldest_ns
        )
        if not found:
            return None
        row = found[0]
        data = json.loads(row.data)
        return ChatReply(row.text, data, row.model, row.input_tokens, row.output_tokens, row.cached_tokens)

    async def keep(self, fingerprint: str, reply: ChatReply) -> None:
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
        await self._db.insert("model_replies", [row])
