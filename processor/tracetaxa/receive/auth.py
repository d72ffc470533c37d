"""Who may send: one shared secret, which every request carries in a header."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracetaxa.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MIN_SECRET_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Credential:
    """A header (lower case) and the value that it must have; never printed.

    With `bearer` the value follows the word Bearer (RFC 6750, section 2.1).
    """

    header: str
    secret: bytes = field(repr=False)
    bearer: bool = False

    @classmethod
    def read(cls, path: Path, key: str, header: str | None = None) -> Credential:
        """The secret in a file, for `header`, or as a bearer token when that is None.

        Read once: a changed file counts after a restart. Raises ConfigError, which names `key`, for a file
        that can't be read and for a secret that is short, or that no header can carry.
        """
        try:
            secret = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigError(f"{key}: can't read {path}: {reason}") from error
        if len(secret) < MIN_SECRET_CHARACTERS:
            raise ConfigError(
                f"{key}: the secret in {path} is shorter than {MIN_SECRET_CHARACTERS} characters"
            )
        if not secret.isascii() or not secret.isprintable():
            raise ConfigError(f"{key}: the secret in {path} must be one line of printable ASCII")
        return cls((header or "authorization").lower(), secret.encode(), bearer=header is None)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a sender puts into its headers."""
        secret = self.secret.decode()
        return ((self.header, f"Bearer {secret}" if self.bearer else secret),)

    def admits(self, headers: Iterable[tuple[str | bytes, str | bytes]]) -> bool:
        """Whether one of a request's headers carries the secret; compared in constant time."""
        name = self.header.encode()
        return any(
            hmac.compare_digest(self._given(_bytes(value)), self.secret)
            for key, value in headers
            if _bytes(key).lower() == name
        )

    def _given(self, value: bytes) -> bytes:
        if not self.bearer:
            return value
        scheme, _, token = value.partition(b" ")
        return token.strip() if scheme.lower() == b"bearer" else b""


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
