"""From the section `privacy` to what redacts, and to what a digest's cuts must spare."""

from __future__ import annotations

import os
import pkgutil
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tracetaxa.analyze.redaction.patterns import KINDS
from tracetaxa.analyze.redaction.redact import CustomPattern, Redactor
from tracetaxa.errors import ConfigError

if TYPE_CHECKING:
    from tracetaxa.analyze.redaction.redact import Hook
    from tracetaxa.config import Config, PrivacyConfig


def must_redact(config: Config, engine: str) -> bool:
    """Whether text is redacted before the engine and the report see it."""
    redact = config.privacy.redact
    if redact != "auto":
        return redact != "off"
    return engine == "openai" and not on_loopback(config.llm.base_url or os.environ.get("OPENAI_BASE_URL"))


def on_loopback(url: str | None) -> bool:
    host = urlsplit(url or "").hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def build_redactor(privacy: PrivacyConfig) -> Redactor:
    """All of the section. Raises ConfigError when its hook can't be imported."""
    return Redactor(kinds_of(privacy), custom_patterns(privacy), load_hook(privacy.hook), privacy.hook or "")


def kinds_of(privacy: PrivacyConfig) -> tuple[str, ...]:
    """The built-in kinds that are replaced where redaction is on."""
    return privacy.redact if isinstance(privacy.redact, tuple) else KINDS


def custom_patterns(privacy: PrivacyConfig) -> tuple[CustomPattern, ...]:
    return tuple(CustomPattern(p.name, p.regex, p.replacement) for p in privacy.patterns)


def load_hook(path: str | None) -> Hook | None:
    """The function that `module:function` names. Raises ConfigError."""
    if path is None:
        return None
    try:
        hook: Any = pkgutil.resolve_name(path)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"privacy.hook {path!r} can't be imported ({type(error).__name__}: {error}): "
            "name an installed module and a function in it, as module:function"
        ) from error
    if not callable(hook):
        raise ConfigError(f"privacy.hook {path!r} is not a function")
    return hook  # type: ignore[no-any-return]


def privacy_identity(config: Config, engine: str) -> dict[str, Any]:
    """What of the section changes a run's outcome."""
    privacy = config.privacy
    if not must_redact(config, engine):
        return {"redact": [], "min_users": privacy.min_users}
    return {
        "redact": list(kinds_of(privacy)),
        "patterns": [pattern.model_dump() for pattern in privacy.patterns],
        "hook": privacy.hook,
        "min_users": privacy.min_users,
    }


def describe_redaction(config: Config, engine: str) -> str:
    """What is replaced, for `check`. Raises ConfigError when the hook can't be imported."""
    if not must_redact(config, engine):
        if config.privacy.redact == "off":
            return "off, as privacy.redact says: models and reports get what traces say"
        return "off, since the engine is on this machine (privacy.redact: auto): reports quote traces as said"
    privacy = config.privacy
    build_redactor(privacy)
    told = [", ".join(kinds_of(privacy)) or "no built-in kinds"]
    if privacy.patterns:
        told.append(f"own patterns {', '.join(pattern.name for pattern in privacy.patterns)}")
    if privacy.hook:
        told.append(f"hook {privacy.hook}")
    return f"on: {'; '.join(told)}"
