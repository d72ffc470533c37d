"""The SQL endpoint of a running service against every way out that the engine has, by the engine's own lists.

tests/processor/sql_endpoint has hostile queries by the hundred, each for its own reason. Here nothing is
chosen: every table function, every system table, every output format and every setting of the engine that is not
allowed on purpose must be refused, also those that the next version of the engine brings.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

import pytest

from campaigns.served import Served
from tracetaxa.store import allowed

if TYPE_CHECKING:
    from collections.abc import Callable

    from clickhouse_connect.driver.client import Client

    from product import Product

pytestmark = pytest.mark.slow

SECRET = "the-secret-in-a-file"
ASK_SECONDS = 30
CODE = re.compile(r"Code: \d+\. DB::Exception: ")
BY_HAND = [
    "SELECT 1 INTO OUTFILE 'FOLDER/out.csv'",
    "SELECT 1 INTO OUTFILE 'FOLDER/out.csv' FORMAT CSV",
    "SELECT file('FOLDER/secret.csv')",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE traces",
    "SELECT 1 SETTINGS allow_ddl = 1",
    "SELECT * FROM executable('cat FOLDER/secret.csv', TSV, 'a String')",
    "INSERT INTO FUNCTION file('FOLDER/out.csv', CSV, 'a UInt8') VALUES (1)",
    "CREATE TABLE out (a UInt8) ENGINE = File(CSV, 'FOLDER/out.csv')",
    "SYSTEM SHUTDOWN",
]


def names(client: Client, sql: str) -> list[str]:
    return [name for (name,) in client.query(sql).result_rows]


def test_every_way_out_is_closed(
    product: Product, client: Client, figure: Callable[[str, object], None]
) -> None:
    folder = product.directory / "folder"
    folder.mkdir()
    (folder / "secret.csv").write_text(f"1,{SECRET}\n")
    product.configure()
    functions = names(client, "SELECT name FROM system.table_functions ORDER BY name")
    tables = names(client, "SELECT name FROM system.tables WHERE database = 'system' ORDER BY name")
    formats = names(client, "SELECT name FROM system.formats WHERE is_output ORDER BY name")
    settings = names(client, "SELECT name FROM system.settings ORDER BY name")
    open_formats = {name.lower() for name in allowed.FORMATS}
    hostile = [
        *BY_HAND,
        *(
            f"SELECT * FROM {call}('FOLDER/secret.csv')"
            for name in functions
            for call in (name, f"`{name}`", name.upper())
            if name.lower() not in allowed.TABLE_FUNCTIONS
        ),
        *(f"SELECT * FROM system.`{name}`" for name in tables if name not in allowed.SYSTEM_TABLES),
        *(f"SELECT 1 FORMAT {name}" for name in formats if name.lower() not in open_formats),
    ]
    closed = [name for name in settings if not allowed.is_allowed_setting(name)]
    answered: list[str] = []
    with Served(product) as service:

        def ask(sql: str, **values: str) -> tuple[int, str]:
            url = f"http://{service.endpoints['sql']}/?{urllib.parse.urlencode(values)}"
            try:
                with urllib.request.urlopen(url, sql.encode(), timeout=ASK_SECONDS) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        for sql in hostile:
            status, text = ask(sql.replace("FOLDER", str(folder)))
            if not 400 <= status < 500 or SECRET in text or not CODE.match(text):
                answered.append(f"{sql}: {status} {text[:200]}")
        for name in closed:
            status, text = ask(f"SELECT 1 SETTINGS {name} = '1'")
            if not 400 <= status < 500 or not CODE.match(text):
                answered.append(f"setting {name}: {status} {text[:200]}")
        figure(
            "asked",
            f"{len(functions)} table functions, {len(tables)} system tables, "
            f"{len(formats)} formats, {len(closed)} settings",
        )
        assert answered == []
        assert ask("SELECT 1 FORMAT TSV") == (200, "1\n")
        assert [path.name for path in folder.iterdir()] == ["secret.csv"]
        assert service.stop() == 0
    assert len(functions) > 50
    assert len(tables) > 50
    assert len(closed) > 500
