"""What keeps a service from starting, and what `check` and `--help` say before."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from product import Product


def test_a_port_that_is_taken(product: Product) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        for section in (
            {"api": {"endpoint": endpoint}},
            {"receiver": {"grpc": {"endpoint": endpoint}}},
            {"receiver": {"http": {"endpoint": endpoint}}},
        ):
            done = product.configure(**section).run("serve")
            assert done.returncode in (1, 2)
            assert endpoint in done.stderr
            assert "Traceback" not in done.stderr


def test_exposed_without_a_token_is_refused(product: Product) -> None:
    done = product.configure(api={"endpoint": "0.0.0.0:0"}).run("serve")
    assert (done.returncode, "api.token_file" in done.stderr) == (2, True)


def test_certificates_that_are_not_there(product: Product, tmp_path: Path) -> None:
    missing = {"cert_file": str(tmp_path / "no.crt"), "key_file": str(tmp_path / "no.key")}
    for transport in ("grpc", "http"):
        section = {transport: {"endpoint": "127.0.0.1:0", "tls": missing}}
        done = product.configure(receiver=section).run("serve")
        assert done.returncode == 2
        assert f"receiver.{transport}.tls: can't read" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_wrong_key_in_the_configuration(product: Product) -> None:
    """As a process once; test_usage.py has all that is wrong usage."""
    product.config.write_text("recever: {}\n", "utf-8")
    done = product.run("serve")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'receiver'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_tells_what_is_wrong(product: Product) -> None:
    product.configure(
        store={"dsn": "clickhouse://127.0.0.1:1"},
        llm={"engine": "openai", "base_url": "http://127.0.0.1:1/v1"},
    )
    done = product.run("check")
    assert done.returncode == 1
    assert "FAIL database" in done.stdout
    assert "FAIL model endpoint" in done.stdout


def test_help_fits_and_names_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tracetaxa.cli", "--help"], capture_output=True, text=True, check=True
    )
    for command in (
        *("serve", "analyze", "report", "trace", "query", "import"),
        *("migrate", "backfill", "check", "demo"),
    ):
        assert command in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
