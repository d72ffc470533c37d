"""Who is answered: with a token, and without one."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from sql_serving import TOKEN, Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def locked(chdb_path: Path, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(chdb_path, database, tmp_path_factory.mktemp("locked"), token=TOKEN) as running:
        yield running


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"grafana:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "values", "status"),
    [
        ({}, {}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, {}, 200),
        ({"Authorization": f"bearer  {TOKEN} "}, {}, 200),
        (basic(TOKEN), {}, 200),
        ({"X-ClickHouse-User": "me", "X-ClickHouse-Key": TOKEN}, {}, 200),
        ({}, {"user": "me", "password": TOKEN}, 200),
        ({"Authorization": f"Bearer {TOKEN}x"}, {}, 401),
        ({"Authorization": "Bearer "}, {}, 401),
        (basic(""), {}, 401),
        (basic("wrong"), {}, 401),
        (basic("größe"), {}, 401),
        ({"Authorization": "Basic ???"}, {}, 401),
        ({"Authorization": f"Digest {TOKEN}"}, {}, 401),
        ({"X-ClickHouse-Key": ""}, {"password": ""}, 401),
        ({"Host": "tracetaxa.internal:8123", "Authorization": f"Bearer {TOKEN}"}, {}, 200),
    ],
)
def test_token(locked: Server, headers: dict[str, str], values: dict[str, str], status: int) -> None:
    reply = locked.send(body="SELECT 1", headers=headers, **values)
    assert reply.status == status, reply.text
    assert TOKEN not in reply.text
    assert (reply.code == "516") == (status == 401)
    assert locked.send("GET", "/ping").text == "Ok.\n"


def test_clients_with_a_token(locked: Server) -> None:
    for options in ({"password": TOKEN}, {"access_token": TOKEN}):
        client = locked.client(**options)
        assert client.command("SELECT 1") == 1
        client.close()
    with pytest.raises(DatabaseError, match="not the endpoint's token"):
        locked.client(password="wrong")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8123", 200),
        ("127.0.0.1", 200),
        ("[::1]:8123", 200),
        ("10.0.0.7:8123", 200),
        ("evil.example", 403),
        ("localhost.evil.example:8123", 403),
    ],
)
def test_names_of_others_need_a_token(server: Server, host: str, status: int) -> None:
    assert server.send(body="SELECT 1", headers={"Host": host}).status == status
