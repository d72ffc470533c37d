"""`tracetaxa serve`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import click

from tracetaxa.cli.options import with_config

if TYPE_CHECKING:
    from tracetaxa.config import Config


@click.command()
@with_config
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
def serve(config: Config, log_level: str) -> None:
    """Take spans, assemble traces and answer questions, all in one process.

    Prints one JSON line when ingest works: {"event": "ready", "pid": …, "endpoints": {…}}. Stops cleanly on
    SIGTERM and Ctrl-C.
    """
    # What gRPC's core would print beside our own message, for example of a port in use.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tracetaxa.service import Service, ready_line

    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )

    logging.getLogger("uvicorn").setLevel(logging.WARNING)

    async def run() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        service = Service(config)
        async with service.running():
            click.echo(json.dumps(ready_line(service)))
            sys.stdout.flush()
            await stopping.wait()
            logging.getLogger(__name__).info("stopping")

    asyncio.run(run())
