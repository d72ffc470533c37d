"""Certificates for tests, made as docs/security.md makes them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

OPENSSL = shutil.which("openssl")


class Pair(NamedTuple):
    cert: Path
    key: Path


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.pair = self._request(name, "-x509", "-days", "1", suffix="ca")

    def sign(self, name: str) -> Pair:
        extension = self.directory / f"{name}.ext"
        extension.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n", "utf-8")
        asked = self._request(name, suffix=name)
        signed = self.directory / f"{name}.crt"
        openssl(
            *("x509", "-req", "-in", asked.cert, "-CA", self.pair.cert, "-CAkey", self.pair.key),
            *("-CAcreateserial", "-days", "1", "-extfile", extension, "-out", signed),
        )
        return Pair(signed, asked.key)

    def _request(self, name: str, *options: str, suffix: str) -> Pair:
        made = Pair(self.directory / f"{suffix}.pem", self.directory / f"{suffix}.key")
        openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *options),
            *("-subj", f"/CN={name}", "-keyout", made.key, "-out", made.cert),
        )
        return made


def openssl(*arguments: object) -> None:
    assert OPENSSL is not None
    subprocess.run([OPENSSL, *map(str, arguments)], check=True, capture_output=True, timeout=60)
