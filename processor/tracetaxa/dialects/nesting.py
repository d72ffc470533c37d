"""Facts about spans that depend on the spans around them: who repeats whom, and who speaks for whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracetaxa.dialects.reading import SpanReading
    from tracetaxa.dialects.tree import Tree


@dataclass(frozen=True, slots=True)
class Nesting:
    """One entry per span of the tree, in its order.

    What is inside a span is all that is below it, with two exceptions: a model call doesn't answer for the
    tools and agents that run inside it, and, for messages, a sub-agent not for the agent that it works for.
    """

    tokens_inside: list[bool]
    input_inside: list[bool]
    output_inside: list[bool]
    wraps_model: list[bool]
    runs_inside: list[bool]
    """Whether a model call has the tools and agents that it asks for inside: its answer comes after them."""
    repeats: list[int]
    """The tool span that reports the same call as this one, -1 for none: client and server of one call."""
    in_tool: list[bool]
    """Whether the nearest agent or tool around the span is a tool."""
    delegations: list[int]
    """How many agents and tools away the user is: from 1 on, an agent wrote the input of the span."""

    @classmethod
    def of(cls, tree: Tree, readings: Sequence[SpanReading]) -> Nesting:
        enclosing = _enclosing(tree, readings)
        delegations = _delegations(tree, readings, enclosing)
        return cls(
            _inside(tree, readings, lambda reading: reading.has_tokens and reading.kind != "retrieval"),
            _inside(tree, readings, lambda reading: bool(reading.input), delegations),
            _inside(tree, readings, lambda reading: reading.says_text, delegations),
            _inside(tree, readings, lambda reading: reading.kind == "model"),
            _runs_inside(tree, readings),
            _repeats(readings, enclosing),
            [outer >= 0 and readings[outer].kind == "tool" for outer in enclosing],
            delegations,
        )

    def nearest(self, tree: Tree, has: Sequence[bool]) -> list[int]:
        """The nearest span above that has it and works for the same agent; -1 for none."""
        found = [-1] * len(has)
        for i in tree.downward:
            parent = tree.parents[i]
            if parent >= 0 and self.delegations[i] == self.delegations[parent]:
                found[i] = parent if has[parent] else found[parent]
        return found


def _inside(
    tree: Tree,
    readings: Sequence[SpanReading],
    has: Callable[[SpanReading], bool],
    delegations: Sequence[int] | None = None,
) -> list[bool]:
    """Whether spans inside have it."""
    inside = [False] * len(readings)
    for i in reversed(tree.downward):
        parent = tree.parents[i]
        if parent < 0 or not (inside[i] or has(readings[i])):
            continue
        if delegations and delegations[i] > delegations[parent]:
            continue
        if readings[parent].kind != "model" or readings[i].kind not in ("tool", "agent"):
            inside[parent] = True
    return inside


def _runs_inside(tree: Tree, readings: Sequence[SpanReading]) -> list[bool]:
    inside = [False] * len(readings)
    for i in reversed(tree.downward):
        parent = tree.parents[i]
        if parent >= 0 and (inside[i] or readings[i].kind in ("tool", "agent")):
            inside[parent] = True
    return [found and reading.kind == "model" for found, reading in zip(inside, readings, strict=True)]


def _enclosing(tree: Tree, readings: Sequence[SpanReading]) -> list[int]:
    """The nearest agent or tool span above, -1 for none."""
    enclosing = [-1] * len(readings)
    for i in tree.downward:
        parent = tree.parents[i]
        if parent >= 0:
            enclosing[i] = parent if readings[parent].kind in ("agent", "tool") else enclosing[parent]
    return enclosing


def _repeats(readings: Sequence[SpanReading], enclosing: Sequence[int]) -> list[int]:
    """The outermost of tool spans of one name that are inside each other."""
    repeats = [-1] * len(readings)
    for i, around in enumerate(enclosing):
        run, above = readings[i].tool, readings[around].tool if around >= 0 else None
        if readings[i].kind == "tool" and run and above and _same_tool(run.name, above.name):
            repeats[i] = around if repeats[around] < 0 else repeats[around]
    return repeats


def _same_tool(one: str, other: str) -> bool:
    """Servers may not know the prefix under which a client has their tools: `weather__get`, `get`."""
    short, long = sorted((one, other), key=len)
    return long == short or (bool(short) and long.endswith(short) and not long[-len(short) - 1].isalnum())


def _delegations(tree: Tree, readings: Sequence[SpanReading], enclosing: Sequence[int]) -> list[int]:
    """How often the input was handed on: a sub-agent's task, or a prompt that a tool makes.

    That is so inside an agent or tool that an outer agent started after it had called a model itself; the
    messages on the span of such an agent are inside too.
    """
    first_call: dict[int, int] = {}
    for i, reading in enumerate(readings):
        if reading.kind == "model":
            first_call.setdefault(enclosing[i], tree.spans[i].start_ns)
    delegations, within = [0] * len(readings), [0] * len(readings)
    """At the span itself, and for what is inside it."""
    for i in tree.downward:
        outer, kind = enclosing[i], readings[i].kind
        delegations[i] = within[i] = within[outer] if outer >= 0 else 0
        if kind in ("agent", "tool"):
            asked = first_call.get(outer) if outer >= 0 or kind == "tool" else None
            within[i] += asked is not None and asked < tree.spans[i].start_ns
            if kind == "agent":
                delegations[i] = within[i]
    return delegations
