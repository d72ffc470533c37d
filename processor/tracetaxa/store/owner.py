"""Who owns an embedded database: one process per directory, named in a small file beside the data.

The file is locked for as long as the owner lives, so a file left behind by a killed process misleads nobody.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from tracetaxa.errors import ConfigError, DatabaseInUse

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "tracetaxa-owner.json"


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that has the database open, and where it serves it (no endpoints: it does not)."""

    pid: int
    command: str
    endpoints: dict[str, str] = field(default_factory=dict)
    configuration: str = ""
    """Fingerprint of what its runs depend on."""


class Ownership:
    """Held from `claim` to `release`, or until the process dies."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def claim(cls, directory: Path, command: str) -> Ownership:
        """Raises DatabaseInUse naming the owner."""
        _refuse_foreign(directory)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / FILE_NAME
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise in_use(directory, _read(path)) from error
        ownership = cls(path, descriptor)
        ownership.publish(command, {})
        return ownership

    def publish(self, command: str, endpoints: dict[str, str], configuration: str = "") -> None:
        """Tell others where to reach this process."""
        text = json.dumps(asdict(Owner(os.getpid(), command, endpoints, configuration))).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)

    def release(self) -> None:
        """Safe twice."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def _refuse_foreign(directory: Path) -> None:
    """A database is made in a new or empty directory only. Raises ConfigError."""
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"store.dsn: {directory} is a file; an embedded database needs a directory")
    ours = (directory / FILE_NAME).exists() or (directory / "metadata").is_dir()
    if directory.is_dir() and not ours and any(directory.iterdir()):
        raise ConfigError(f"store.dsn: {directory} holds something else; choose a new or empty directory")


def find_owner(directory: Path) -> Owner | None:
    """The living owner of this database, None when nobody has it open."""
    path = directory / FILE_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(path)
    finally:
        os.close(descriptor)
    return None


def in_use(directory: Path, owner: Owner | None) -> DatabaseInUse:
    who = f"process {owner.pid} ({owner.command})" if owner else "another process"
    return DatabaseInUse(
        f"the embedded database {directory} is open in {who}; one process owns it at a time. "
        "Stop that process, or reach the data through `tracetaxa serve` on the same database."
    )


def _read(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
