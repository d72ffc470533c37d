"""TLS for both transports: certificates from files, read at the start."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import grpc

from tracetaxa.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class Tls:
    """`cert_file` is PEM, the server's certificate first and then its chain; `key_file` is its key.

    With `client_ca_file` (mutual TLS) only clients get in whose certificate one of those authorities signed.
    `key` names the setting in errors, such as `receiver.grpc.tls`.
    """

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    min_version: Literal["1.2", "1.3"] = "1.2"
    key: str = "tls"

    def context(self) -> ssl.SSLContext:
        """For servers of Python. Raises ConfigError for files that can't be read or don't fit each other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[self.min_version]
        for path in self._files:
            _read(path, self.key)
        try:
            # Without a password an encrypted key would be asked for on the terminal.
            context.load_cert_chain(self.cert_file, self.key_file, password=lambda: b"")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self.key}: {self.cert_file} and {self.key_file} are not a certificate in PEM and its "
                f"unencrypted key: {_reason(error)}"
            ) from error
        if self.client_ca_file is not None:
            try:
                context.load_verify_locations(self.client_ca_file)
            except (OSError, ValueError) as error:
                raise ConfigError(
                    f"{self.key}.client_ca_file: {self.client_ca_file} holds no certificate in PEM: "
                    f"{_reason(error)}"
                ) from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For gRPC, which takes TLS 1.2 and newer whatever `min_version` says. Raises ConfigError."""
        self.context()  # gRPC says of bad files no more than that it can't listen
        client_ca = _read(self.client_ca_file, self.key) if self.client_ca_file is not None else None
        pair = (_read(self.key_file, self.key), _read(self.cert_file, self.key))
        return grpc.ssl_server_credentials(
            [pair], root_certificates=client_ca, require_client_auth=client_ca is not None
        )

    @property
    def _files(self) -> tuple[Path, ...]:
        return tuple(
            path for path in (self.cert_file, self.key_file, self.client_ca_file) if path is not None
        )


def _read(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{key}: can't read {path}: {error.strerror}") from error


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason).replace("_", " ").lower()
