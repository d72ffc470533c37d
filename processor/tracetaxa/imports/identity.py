"""Ids of imported chats: the same chat has the same id in every import, so that nothing is counted twice."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracetaxa.imports.rows import Chat


_TELLING = 8
"""Characters from which an id is taken to be nobody else's."""


class TraceIds:
    """Of one import. Chats that say the same and have no id of their own are told apart by counting them."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._seen: set[int] = set()
        self._repeated: dict[int, int] = {}

    def trace_id(self, chat: Chat) -> bytes:
        said = [
            (one.message.key, one.time_ns, one.model, [r.error for r in one.message.results])
            for one in chat.messages
        ]
        about = (self._service, chat.conversation, chat.user, chat.system, chat.history, chat.start_ns, said)
        content = json.dumps(about, ensure_ascii=False).encode("utf-8", "replace")
        digest = hashlib.blake2b(content, digest_size=16)
        if chat.conversation:
            return digest.digest()
        short = int.from_bytes(digest.digest()[:8])
        if short not in self._seen:
            self._seen.add(short)
            return digest.digest()
        self._repeated[short] = number = self._repeated.get(short, 1) + 1
        digest.update(number.to_bytes(8))
        return digest.digest()


def span_id(trace_id: bytes, place: int | str) -> bytes:
    return hashlib.blake2b(str(place).encode(), key=trace_id, digest_size=8).digest()


def session_id(service: str, conversation: str) -> str:
    """Ids such as 1, 2, 3 mean something in their own file only: the service's name is put before them."""
    if not conversation or (len(conversation) >= _TELLING and not conversation.isdigit()):
        return conversation
    return f"{service}/{conversation}"
