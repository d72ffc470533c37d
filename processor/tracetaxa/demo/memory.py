"""How much memory a process and everything it started use, watched from inside."""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path

_PROC = Path("/proc")
INTERVAL_SECONDS = 0.25
MIB = 1 << 20


class PeakMemory:
    """Largest sum of resident memory seen between start and `stop`, in bytes.

    On Linux the sum over the whole process tree, sampled: memory that processes share counts in each of them.
    Elsewhere this process and its largest child that has ended.
    """

    def __init__(self, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._interval = interval_seconds
        self._peak = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)
        if (_PROC / "self" / "stat").exists():
            self._thread.start()

    def stop(self) -> int:
        """The peak; may be called again."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        return self._peak or _largest()

    def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, tree_memory(os.getpid()))
            if self._stopping.wait(self._interval):
                return


def tree_memory(root: int) -> int:
    """Resident bytes of process `root` and its descendants now (Linux)."""
    page = os.sysconf("SC_PAGE_SIZE")
    parents: dict[int, int] = {}
    resident: dict[int, int] = {}
    for directory in _PROC.iterdir():
        if not directory.name.isdigit():
            continue
        try:
            # The name of the program stands in parentheses and may hold anything.
            fields = (directory / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(directory.name)] = int(fields[1])
        resident[int(directory.name)] = int(fields[21]) * page
    tree, found = set(), {root}
    while found:
        tree |= found
        found = {pid for pid, parent in parents.items() if parent in tree} - tree
    return sum(resident.get(pid, 0) for pid in tree)


def _largest() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own + children) * unit
