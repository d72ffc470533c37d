"""What an OpenAI-compatible endpoint accepts, learnt from what it refuses.

Servers and models differ: some lack JSON-schema output, some want `max_tokens` and others
`max_completion_tokens`, reasoning models refuse `temperature`. A client starts with the best form and steps
down on the 400 or 422 that says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tracetaxa.llm import replies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FORMAT_REFUSED = re.compile(
    r"response_format|json_schema|json_object|json mode|structured|schema|grammar", re.IGNORECASE
)
_PARAMETER_REFUSED = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not (?:permitted|allowed)|extra|"
    r"only the default|invalid (?:parameter|argument|value)|deprecated",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Capabilities:
    formats: tuple[str, ...] = ("json_schema", "json_object", "text")
    """Ways to ask for JSON that are left to try, best first."""
    limits: tuple[str, ...] = ("max_completion_tokens", "max_tokens")
    """Names of the output limit that are left to try."""
    options: tuple[str, ...] = ("reasoning_effort", "temperature")
    """Optional parameters that have not been refused."""
    ignores_schema: bool = False
    """The endpoint took the schema and did not keep to it: spell it out in the prompt too."""

    def request(
        self,
        messages: Sequence[Mapping[str, str]],
        schema: Mapping[str, Any] | None,
        max_tokens: int,
        options: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Arguments of a chat completion."""
        arguments: dict[str, Any] = {"messages": list(messages)}
        if self.limits:
            arguments[self.limits[0]] = max_tokens
        arguments |= {k: v for k, v in options.items() if k in self.options and v is not None}
        if schema is None:
            return arguments
        if self.formats[0] == "json_schema":
            arguments["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": schema},
            }
        elif self.formats[0] == "json_object":
            arguments["response_format"] = {"type": "json_object"}
        if self.ignores_schema or self.formats[0] != "json_schema":
            arguments["messages"] = _with_instruction(messages, replies.instruction(schema))
        return arguments

    def after_refusal(self, parameter: str, message: str) -> Capabilities | None:
        """What to try after a 400 or 422, None when it is not about something we can leave out."""
        if self.limits and _names(self.limits[0], parameter, message):
            return replace(self, limits=self.limits[1:])
        for option in self.options:
            if _names(option, parameter, message):
                return replace(self, options=tuple(o for o in self.options if o != option))
        about_format = parameter.startswith("response_format") or _FORMAT_REFUSED.search(message)
        if about_format and len(self.formats) > 1:
            return replace(self, formats=self.formats[1:])
        return None

    def spelled_out(self) -> Capabilities:
        """After a reply that ignored the schema."""
        return replace(self, ignores_schema=True)


def _names(name: str, parameter: str, message: str) -> bool:
    named = parameter == name or re.search(rf"\b{name}\b", message) is not None
    return named and _PARAMETER_REFUSED.search(message) is not None


def _with_instruction(messages: Sequence[Mapping[str, str]], instruction: str) -> list[Mapping[str, str]]:
    """Into the system message: it stays the same from call to call, so that prompt caching hits."""
    head, *rest = messages
    if head["role"] == "system":
        return [{"role": "system", "content": f"{head['content']}\n\n{instruction}"}, *rest]
    return [{"role": "system", "content": instruction}, *messages]
