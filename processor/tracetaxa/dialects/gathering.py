"""Which messages of which spans make the conversation, and in which order.

Input counts at the start of a span where no span inside has input, output where none inside has output: each
direction for itself, since some instrumentations put the question on the agent and the answers on its model
calls, or the other way round. The output of an agent counts when all inside it was said.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tracetaxa.dialects.conversation import ConversationBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.dialects.conversation import Step, Thread
    from tracetaxa.dialects.nesting import Nesting
    from tracetaxa.dialects.reading import SpanReading
    from tracetaxa.dialects.tree import Tree


def gather(tree: Tree, readings: Sequence[SpanReading], nesting: Nesting) -> list[Step]:
    """The steps of the conversation, in order. O(n log n) beside the messages themselves."""
    asks = [bool(r.input) and not inside for r, inside in zip(readings, nesting.input_inside, strict=True)]
    answers = [
        bool(r.output) and not inside for r, inside in zip(readings, nesting.output_inside, strict=True)
    ]
    late = [
        answers[i]
        and (
            reading.kind == "agent"
            or nesting.input_inside[i]
            or (nesting.runs_inside[i] and not any(message.calls for message in reading.output))
        )
        for i, reading in enumerate(readings)
    ]
    asker, answerer = nesting.nearest(tree, asks), nesting.nearest(tree, late)
    threads: dict[int, Thread] = {}
    """By span: where its input went, or the last input inside it."""
    conversation = ConversationBuilder()
    for moment_ns, _, is_end, i in _moments(tree, late):
        span, reading, delegated = tree.spans[i], readings[i], nesting.delegations[i] > 0
        if is_end:
            conversation.answer(span, reading, threads[i], delegated=delegated, since_ns=moment_ns)
        elif asks[i] or (answers[i] and not nesting.input_inside[i]):
            if late[i] or not answers[i]:
                reading = replace(reading, output=())
            within = threads.get(asker[i])
            threads[i] = conversation.add(span, reading, delegated=delegated, within=within)
            if asks[i] and answerer[i] not in (-1, asker[i]):
                threads[answerer[i]] = threads[i]
        elif reading.system:
            conversation.instruct(span, reading)
    return conversation.steps


def _moments(tree: Tree, late: Sequence[bool]) -> list[tuple[int, int, bool, int]]:
    """Starts of all spans and ends of the `late` ones, as (time, place among equal times, is end, span).

    A span has its end after the starts of all inside it, though clocks may say otherwise.
    """
    until = [span.end_ns for span in tree.spans]
    last = list(range(len(until)))
    for i in reversed(tree.downward):
        parent = tree.parents[i]
        if parent >= 0:
            until[parent] = max(until[parent], until[i])
            last[parent] = max(last[parent], last[i])
    starts = [(span.start_ns, i, False, i) for i, span in enumerate(tree.spans)]
    ends = [(until[i], last[i], True, i) for i in range(len(until)) if late[i]]
    return sorted(starts + ends)
