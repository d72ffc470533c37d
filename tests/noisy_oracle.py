"""An oracle that errs: how often depends on the trace, and every time it is asked it errs anew."""

from __future__ import annotations

import hashlib
import json
import random
import re
from typing import TYPE_CHECKING, Any

from factories import START_NS, TRUTH, trace_row
from tracetaxa.testing import Oracle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracetaxa.records import TraceRow
    from tracetaxa.testing import Messages

KINDS = TRUTH | {
    "allergy": ("Products", "Allergy question"),
    "battery": ("Products", "Battery life"),
}
_CASE = re.compile(r"case (\d+)")


def truth(digest: str) -> tuple[str, str] | None:
    return next((kind for word, kind in KINDS.items() if word in digest), None)


def cases(count: int) -> list[TraceRow]:
    words = list(KINDS)
    return [
        trace_row(
            f"{i:032x}",
            start_ns=START_NS + i,
            request=f"case {i}: my {words[i % len(words)]} needs a look, please",
            digest_kinds=("user",),
            digest_texts=(f"case {i}: my {words[i % len(words)]} needs a look, please",),
            digest_span_ids=("aa",),
        )
        for i in range(count)
    ]


def hardness(case: int) -> float:
    """In [0, 1], most of them low."""
    return random.Random(f"case {case}").random() ** 2


class NoisyOracle:
    """`Answer` for a `ScriptedModel`: labels are wrong in 2 to 77 % of readings, by the hardness of the case,
    and the confidence stated is too high and follows it loosely."""

    def __init__(self, noise: float = 1.0) -> None:
        self.noise = noise
        self._oracle = Oracle(truth)

    def __call__(self, messages: Messages, schema: Mapping[str, Any] | None) -> Any:
        reply = self._oracle(messages, schema)
        if schema is not None and "labels" in reply:
            labels = schema["properties"]["labels"]["items"]["properties"]["label"]["enum"]
            asked = hashlib.sha256(json.dumps(list(messages)).encode()).hexdigest()
            for entry in reply["labels"]:
                if case := _CASE.search(entry["evidence"]):
                    self._err(entry, int(case[1]), sorted(labels), asked)
        return reply

    def _err(self, entry: dict[str, Any], case: int, labels: list[str], asked: str) -> None:
        chance, hard = random.Random(f"{case} {asked}"), hardness(case)
        leaves = [label for label in labels if "__" in label and label != entry["label"]]
        if chance.random() < self.noise * (0.02 + 0.75 * hard):
            entry["label"] = chance.choice(leaves)
        stated = min(0.99, max(0.0, 0.98 - 0.35 * hard + chance.gauss(0, 0.02)))
        entry["confidence"] = round(stated * 20) / 20
