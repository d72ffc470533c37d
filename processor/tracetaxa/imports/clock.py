"""When each message of a chat was said, where its source does not say so or not for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracetaxa.imports.rows import Chat

GAP_NS = 10**9
"""Between messages without times: so even that nobody takes it for measured."""
_STEP_NS = 1_000
"""Messages follow each other, also where a clock gives several the same time."""


def message_times(chat: Chat, at_ns: int) -> list[int]:
    """Strictly increasing, one a message; a chat without any time ends at `at_ns`.

    Times that the source has are kept, unless they run backwards.
    """
    count = len(chat.messages)
    known = {i: said.time_ns for i, said in enumerate(chat.messages) if said.time_ns is not None}
    start, end = chat.start_ns, chat.end_ns
    if start is not None and (not known or start < min(known.values())):
        known.setdefault(0, start)
    if end is not None and count > 1 and (not known or end >= max(known.values())):
        known.setdefault(count - 1, end)
    elif end is not None and not known:
        known[0] = end
    if not known:
        known[count - 1] = at_ns
    first = min(known)
    times = [known[first] - (first - i) * GAP_NS for i in range(first + 1)]
    marks = sorted(known)
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        until = count if following is None else following
        gap = GAP_NS
        if following is not None:
            gap = min(gap, max(0, known[following] - times[-1]) // (following - mark))
        times += [times[mark] + gap * (i - mark) for i in range(mark + 1, until)]
        if following is not None:
            times.append(max(known[following], times[-1] + _STEP_NS))
    for i in range(1, count):
        times[i] = max(times[i], times[i - 1] + _STEP_NS)
    return times


def has_times(chat: Chat) -> bool:
    return (
        chat.start_ns is not None
        or chat.end_ns is not None
        or any(s.time_ns is not None for s in chat.messages)
    )
