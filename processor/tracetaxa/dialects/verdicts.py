"""Labels that say yes or no, as numbers: `fail` from an evaluator counts like a score of 0."""

from __future__ import annotations

import re

_OPPOSITES = (
    *(("👍", "👎"), ("up", "down"), ("thumbs up", "thumbs down"), ("thumb up", "thumb down")),
    *(("thumbsup", "thumbsdown"), ("pass", "fail"), ("passed", "failed"), ("yes", "no"), ("true", "false")),
    *(("good", "bad"), ("positive", "negative")),
)
_SCORES = {good: 1.0 for good, _ in _OPPOSITES} | {bad: 0.0 for _, bad in _OPPOSITES}
_EMOJI_VARIANTS = {0xFE0F: None} | dict.fromkeys(range(0x1F3FB, 0x1F400))
"""Variation selector 16 and the skin tones."""
_LONGEST = 40


def score_of_label(label: str) -> float | None:
    """1 for what says yes (thumbs up, pass, good…), 0 for what says no, None for any other label."""
    if len(label) > _LONGEST:
        return None
    plain = label.translate(_EMOJI_VARIANTS).casefold()
    return _SCORES.get(" ".join(re.split(r"[\s:_-]+", plain)).strip())
