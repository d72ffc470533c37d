"""A chat model whose answers are kept: what was asked before is not asked, and not paid, again.

The same run made twice, or made again after it was killed, sends the same requests: samples, packs, fences
and prompts depend on nothing but the configuration, the window and the seed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any

from tracetaxa.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.protocols import Admit, ChatModel, ChatReply, ReplyCache
    from tracetaxa.records import Spend

log = logging.getLogger(__name__)


class CachedChat:
    """`ChatModel` over another one. Only usable answers are kept, so that a failure is tried again.

    `identity` is whatever else an answer depends on: the endpoint, the reasoning effort. A cache that can't
    be read or written costs a call, never the run.
    """

    def __init__(self, model: ChatModel, cache: ReplyCache, identity: str = "") -> None:
        self.name = model.name
        self.answered = 0
        """Calls that the cache answered."""
        self._model = model
        self._cache = cache
        self._identity = identity
        self._told = False

    @property
    def spend(self) -> Spend:
        return self._model.spend

    async def complete(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int,
        admit: Admit | None = None,
    ) -> ChatReply:
        """Tokens of an answer out of the cache are those that it cost when it was given."""
        fingerprint = self._fingerprint(messages, schema)
        try:
            known = await self._cache.find(fingerprint)
        except StoreError as error:
            known = None
            self._tell(error)
        if known is not None:
            self.answered += 1
            return known
        reply = await self._model.complete(messages, schema=schema, max_tokens=max_tokens, admit=admit)
        try:
            await self._cache.keep(fingerprint, reply)
        except StoreError as error:
            self._tell(error)
        return reply

    async def close(self) -> None:
        await self._model.close()

    def _fingerprint(self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any] | None) -> str:
        asked = [self.name, self._identity, [dict(message) for message in messages], schema]
        text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()

    def _tell(self, error: StoreError) -> None:
        if not self._told:
            log.warning("replies of models are not cached now: %s", error)
        self._told = True
