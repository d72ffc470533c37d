"""Decides whether a SQL text is one harmless SELECT, on the tree that ClickHouse's own parser makes of it.

There is no second parser that could understand a text differently: `formatQuerySingleLine` refuses several
statements and writes one canonical statement, `parseQueryToJSON` gives the tree of that statement, and only
that statement is run. FORMAT and SETTINGS are taken out of the tree and returned beside the text; the text
without them is written by `formatQueryFromJSON` and parsed again, and must give the same tree.

Then every node must be of a known type, every table belong to the database or to a short list of system
tables, and every function only compute (syntax.py, allowed.py). ClickHouse's `readonly` alone is not enough:
the function `file` reads files under it, qualified names reach every database, and the embedded engine runs
several statements.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from clickhouse_connect.driver.exceptions import ClickHouseError

from tracetaxa.errors import QueryFailed, QueryRefused
from tracetaxa.store import allowed
from tracetaxa.store.database import statement
from tracetaxa.store.syntax import FunctionNames, Names, Node, Walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clickhouse_connect.driver.client import Client


MAX_DEPTH = 300
"""Levels of the syntax tree as JSON; a call or subquery inside another adds two or more."""


class NotASelect(QueryRefused):
    """The statement is something other than a SELECT."""


@dataclass(frozen=True, slots=True)
class CheckedQuery:
    """One harmless SELECT."""

    text: str
    """Canonical, without FORMAT and SETTINGS."""
    format: str | None
    """Output format, when the statement named one."""
    settings: Mapping[str, str]
    """Allowed settings of its SETTINGS clause."""
    parameters: frozenset[str]
    """Names of its `{name:Type}` parameters."""
    system_tables: frozenset[str] = frozenset()
    """Tables of database `system` that it reads."""

    @property
    def sql(self) -> str:
        """Text with its settings; a FORMAT clause may follow."""
        return f"{self.text} SETTINGS {settings_clause(self.settings)}" if self.settings else self.text


class Guard:
    """Checks SQL for one database with the parser of the engine behind `client`.

    Use it from one thread at a time, like its client. The engine must know `parseQueryToJSON`: the embedded
    engine does, and ClickHouse 26.8 and newer.
    """

    def __init__(
        self,
        client: Client,
        database: str,
        *,
        max_query_bytes: int = 256 * 1024,
        max_depth: int = MAX_DEPTH,
        functions: FunctionNames | None = None,
    ) -> None:
        self._client = client
        self._database = database
        self._max_query_bytes = max_query_bytes
        self._max_depth = max_depth
        self._functions = functions

    @property
    def functions(self) -> FunctionNames:
        """Read from the engine once; hand it to other guards of the same engine."""
        if self._functions is None:
            self._functions = FunctionNames.load(self._client)
        return self._functions

    def check(self, sql: str) -> str:
        """The canonical text of one harmless SELECT, without FORMAT. Raises as `examine` does."""
        return self.examine(sql).sql

    def examine(self, sql: str) -> CheckedQuery:
        """What to run for `sql`.

        Raises QueryRefused when it is not one SELECT over allowed tables and functions, and QueryFailed with
        ClickHouse's message when it can't be parsed or a table does not exist.
        """
        canonical = self._canonical(sql)
        canonical = _as_select(canonical, self._database) or canonical
        try:
            tree, names = self._parse(canonical)
            if tree.get("type") != "SelectWithUnionQuery":
                raise NotASelect(f"{canonical.split(' ')[0]} is not allowed here: only SELECT, and read-only")
            format_name, settings = _take_format(tree), _take_settings(tree)
            walk = Walk(names)
            walk.visit(tree)
            text = self._write(tree) if format_name or settings else canonical
        except RecursionError as error:
            raise QueryRefused("the query is nested too deeply; use fewer nested expressions") from error
        return CheckedQuery(
            text, format_name, settings, frozenset(walk.parameters), frozenset(walk.system_tables)
        )

    def check_condition(self, text: str) -> str:
        """The canonical text of one boolean expression, safe to put between parentheses into a WHERE clause.

        Subqueries may read this database only. Raises QueryRefused and QueryFailed.
        """
        canonical = self._canonical(f"SELECT\n{text}\n")
        try:
            tree, names = self._parse(canonical)
            walk = Walk(names)
            walk.visit(_only_expression(tree))
        except RecursionError as error:
            raise QueryRefused("the condition is nested too deeply; use fewer nested expressions") from error
        if walk.parameters:
            name = min(walk.parameters)
            raise QueryRefused(f"a condition has no parameters: write the value in place of {{{name}:…}}")
        return canonical.removeprefix("SELECT ")

    def _canonical(self, sql: str) -> str:
        if len(sql.encode(errors="replace")) > self._max_query_bytes:
            raise QueryRefused(
                f"the query is longer than {self._max_query_bytes} bytes; bind long lists as parameters, "
                "as in {ids:Array(String)}"
            )
        return str(self._ask("guard/format", sql=sql)[0])

    def _parse(self, canonical: str) -> tuple[Node, Names]:
        tree, databases, engine, tables = self._ask("guard/parse", sql=canonical, database=self._database)
        if engine not in allowed.DATABASE_ENGINES:
            raise QueryRefused(
                f"database {self._database} has the engine {engine or 'of no database'}, where a name may be "
                "that of a file or of another server's table; choose another store.database"
            )
        others = frozenset(databases) - {self._database}
        root = json.loads(tree)
        _refuse_deep(root, self._max_depth)
        return root, Names(self._database, frozenset(tables), others, self.functions)

    def _write(self, tree: Node) -> str:
        text, again = self._ask("guard/write", tree=json.dumps(tree))
        if json.loads(again) != tree:
            raise QueryRefused(
                "ClickHouse can't write this query without FORMAT and SETTINGS; send it without"
            )
        return str(text)

    def _ask(self, name: str, **parameters: str) -> tuple[Any, ...]:
        try:
            return tuple(self._client.query(statement(name), parameters=parameters).result_rows[0])
        except UnicodeEncodeError as error:
            raise QueryRefused("the query is not valid UTF-8") from error
        except ClickHouseError as error:
            _raise_typed(error)


# ------------------------------------------------------------------------------------------------- clauses

_NAME = "(?:`([A-Za-z_][A-Za-z0-9_]*)`|([A-Za-z_][A-Za-z0-9_]*))"
_BROWSE = re.compile(
    rf"(SHOW DATABASES|SHOW TABLES|DESCRIBE TABLE)(?:(?: FROM)? {_NAME}(?:\.{_NAME})?)??( FORMAT [A-Za-z]+)?"
)
_DESCRIBE = (
    "SELECT name, type, default_kind AS default_type, default_expression, comment, "
    "compression_codec AS codec_expression, '' AS ttl_expression FROM system.columns"
)


def _as_select(canonical: str, database: str) -> str | None:
    """SHOW and DESCRIBE, with which clients browse a schema, as the SELECT that they stand for.

    The canonical text of these is simple enough to match whole; its names are letters, digits and `_`, so
    they can stand between quotes.
    """
    browse = _BROWSE.fullmatch(canonical)
    if browse is None:
        return None
    what, first, second = browse[1], browse[2] or browse[3], browse[4] or browse[5]
    output = browse[6] or ""
    if what == "SHOW DATABASES":
        return f"SELECT name FROM system.databases ORDER BY name{output}"  # noqa: S608
    if what == "SHOW TABLES":
        return f"SELECT name FROM system.tables WHERE database = '{first or database}' ORDER BY name{output}"  # noqa: S608
    place = (first, second) if second else (database, first)
    return f"{_DESCRIBE} WHERE (database, table) = {place} ORDER BY position{output}"


def _take_format(tree: Node) -> str | None:
    node = tree.pop("format_ast", None)
    return None if node is None else output_format(str(node.get("name")))


def output_format(name: str) -> str:
    """The allowed format of this name, in any case. Raises QueryRefused."""
    for known in allowed.FORMATS:
        if known.lower() == name.lower():
            return known
    raise QueryRefused(f"FORMAT {name} is not allowed here; use one of {', '.join(allowed.FORMATS)}")


def _take_settings(tree: Node) -> dict[str, str]:
    """The SETTINGS that hold for the whole statement: behind its last SELECT or behind FORMAT."""
    nodes = [tree.pop("settings_ast", None)]
    last = tree["list_of_selects"]["children"][-1]
    if last.get("type") == "SelectQuery":
        nodes.append(last.pop("settings", None))
    settings: dict[str, str] = {}
    for node in nodes:
        if node is None:
            continue
        if set(node) - {"type", "changes", "is_standalone"}:
            raise QueryRefused("SETTINGS can't hold DEFAULT or parameters here; write name = value")
        for change in node["changes"]:
            settings[change["name"]] = _setting_value(change["name"], change["value"])
    return settings


def _setting_value(name: str, value: dict[str, Any]) -> str:
    refuse_unknown_setting(name)
    plain = value.get("value")
    if isinstance(plain, bool):
        return str(int(plain))
    if not isinstance(plain, int | float | str):
        raise QueryRefused(f"the setting {name} needs a number or a string")
    return str(plain)


def refuse_unknown_setting(name: str) -> None:
    """Raises QueryRefused for a setting that is not on the list."""
    if not allowed.is_allowed_setting(name):
        known = sorted(allowed.SETTINGS | allowed.CAPPED_SETTINGS)
        raise QueryRefused(f"the setting {name} is not allowed here; these are: {', '.join(known)}")


def settings_clause(settings: Mapping[str, str]) -> str:
    """`a = '1', b = 'x'`; ClickHouse turns quoted values into the setting's type."""
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in settings.items()}
    return ", ".join(f"{name} = '{value}'" for name, value in quoted.items())


def _only_expression(tree: Node) -> Node:
    if tree.get("type") == "SelectWithUnionQuery":
        used = {field for field, value in tree.items() if value}
        selects = tree["list_of_selects"]["children"]
        if used == {"type", "union_mode", "list_of_selects"} and set(selects[0]) == {"type", "select"}:
            expressions: list[Node] = selects[0]["select"]["children"]
            kinds = [expression["type"] for expression in expressions]
            single = len(selects) == 1 and kinds in (["Function"], ["Identifier"], ["Literal"])
            if single and "alias" not in expressions[0]:
                return expressions[0]
    raise QueryRefused("the condition must be one boolean expression: no list, *, AS, FROM or other clause")


def _raise_typed(error: ClickHouseError) -> NoReturn:
    message = str(error).strip().split("\n")[0]
    # ClickHouse repeats our question, with the whole query in it, between its message and the error's name.
    message, _, question = message.partition(": In scope ")
    name = re.search(r" \([A-Z_]+\)$", question)
    message = message[:2000] + (name[0] if name else "")
    if "Multi-statements are not allowed" in message:
        raise QueryRefused("one statement at a time: send each in a request of its own") from error
    if "not supported by parseQueryToJSON" in message:
        raise NotASelect("only SELECT is allowed here, and read-only") from error
    if getattr(error, "code", None) == _UNKNOWN_FUNCTION:
        raise QueryFailed("checking SQL needs the embedded engine or ClickHouse 26.8 and newer") from error
    raise QueryFailed(message) from error


_UNKNOWN_FUNCTION = 46


def _refuse_deep(root: Node, most: int) -> None:
    """Counts for itself: where Python gives up recursing differs from version to version."""
    level: list[Any] = [root]
    for _ in range(most):
        level = [
            inner
            for node in level
            for inner in (node.values() if isinstance(node, dict) else node)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise QueryRefused("the query is nested too deeply; use fewer nested expressions")
