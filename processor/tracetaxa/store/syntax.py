"""Walks the tree that ClickHouse's parser makes of a query and refuses what allowed.py does not list."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from tracetaxa.errors import QueryFailed, QueryRefused
from tracetaxa.store import allowed
from tracetaxa.store.database import statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Node = dict[str, Any]
"""A node of `parseQueryToJSON`: `type`, and fields that are scalars, nodes or lists of nodes."""


@dataclass(frozen=True, slots=True)
class FunctionNames:
    """The functions of this engine that only compute from their arguments."""

    exact: frozenset[str]
    lower: frozenset[str]
    """Lower-case names of those that ClickHouse matches in any case."""
    aggregates: frozenset[str]
    """Exact names, and lower-case names of those matched in any case."""
    combinators: tuple[str, ...]
    """Suffixes of aggregate functions: -If, -Array, -State, …"""

    @classmethod
    def load(cls, client: Client) -> FunctionNames:
        rows = client.query(statement("guard/functions")).result_rows
        harmless = {
            name
            for name, _, _, alias_to, categories in rows
            if not alias_to and _is_harmless(name, categories.split(","))
        }
        exact, lower, aggregates = set(allowed.SYNTAX_FUNCTIONS), set(), set()
        for name, is_aggregate, case_insensitive, alias_to, _ in rows:
            if (alias_to or name) in harmless:
                exact.add(name)
                if case_insensitive:
                    lower.add(name.lower())
                if is_aggregate:
                    aggregates |= {name, name.lower()} if case_insensitive else {name}
        combinators = tuple(name for (name,) in client.query(statement("guard/combinators")).result_rows)
        return cls(frozenset(exact), frozenset(lower), frozenset(aggregates), combinators)

    def __contains__(self, name: str) -> bool:
        return name in self.exact or name.lower() in self.lower or self._is_aggregate(name)

    def _is_aggregate(self, name: str) -> bool:
        if name in self.aggregates or name.lower() in self.aggregates:
            return True
        return any(name.endswith(c) and self._is_aggregate(name.removesuffix(c)) for c in self.combinators)


def _is_harmless(name: str, categories: list[str]) -> bool:
    if name in allowed.FUNCTIONS:
        return True
    return name not in allowed.DENIED_FUNCTIONS and all(c.strip() in allowed.CATEGORIES for c in categories)


@dataclass(frozen=True, slots=True)
class Names:
    """What the names in a query may mean."""

    database: str
    tables: frozenset[str]
    """Of `database`."""
    other_databases: frozenset[str]
    functions: FunctionNames


class Walk:
    """Visits every node of one statement; collects its parameters and the system tables that it reads."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.parameters: set[str] = set()
        self.system_tables: set[str] = set()

    def visit(self, node: Any, ctes: frozenset[str] = frozenset()) -> None:
        """`ctes` are the names that WITH gives to subqueries around this node.

        Raises QueryRefused at the first node that is not allowed, and QueryFailed at a table that is missing.
        """
        if isinstance(node, list):
            for item in node:
                self.visit(item, ctes)
            return
        kind = node.get("type") if isinstance(node, dict) else type(node).__name__
        fields = allowed.NODES.get(str(kind))
        if fields is None:
            raise QueryRefused(_WHY_NOT.get(str(kind)) or f"{kind} is not allowed here")
        if kind in ("Identifier", "TableIdentifier"):
            self.visit(node.pop("children", []), ctes)  # parameters of type Identifier
        for field, value in node.items():
            if field not in fields and field not in ("type", "alias") and value is not False:
                raise QueryRefused(_WHY_NOT.get(field) or f"{kind} with {field} is not allowed here")
        match kind:
            case "Literal":
                return
            case "SelectWithUnionQuery" | "SelectQuery":
                ctes |= _cte_names(node)
            case "TableExpression":
                self._table_function(node.get("table_function"))
            case "TableIdentifier":
                self._table(_parts(node), ctes)
            case "Identifier":
                self._identifier(_parts(node))
            case "Function":
                self._function(node)
            case "ColumnsApplyTransformer":
                self._function_name(node.get("func_name"))
            case "QueryParameter":
                self._parameter(node)
        for field, value in node.items():
            if field == "table_function":
                self.visit(arguments(value), ctes)
            elif field not in _SCALAR_LISTS and isinstance(value, dict | list):
                self.visit(value, ctes)

    def _table(self, parts: list[str], ctes: frozenset[str]) -> None:
        names = self._names
        if len(parts) == 2 and parts[0] == "system" and parts[1] in allowed.SYSTEM_TABLES:
            self.system_tables.add(parts[1])
            return
        if len(parts) > 2 or (len(parts) == 2 and parts[0] != names.database):
            self._foreign_table(parts)
        if parts[-1] not in names.tables and (len(parts) == 2 or parts[0] not in ctes):
            near = difflib.get_close_matches(parts[-1], names.tables, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise QueryFailed(
                f"Code: 60. DB::Exception: there is no table {parts[-1]} in database {names.database}{hint} "
                "(UNKNOWN_TABLE)"
            )

    def _identifier(self, parts: list[str]) -> None:
        # `x IN db.table` reads the table, also through an alias of `db.table` that stands elsewhere.
        if len(parts) > 1 and parts[0] in self._names.other_databases:
            self._foreign_table(parts)

    def _foreign_table(self, parts: list[str]) -> NoReturn:
        raise QueryRefused(
            f"{'.'.join(parts)} is not allowed here: only tables of database {self._names.database} and, "
            f"in FROM, system.{', system.'.join(sorted(allowed.SYSTEM_TABLES))}"
        )

    def _table_function(self, node: Node | None) -> None:
        if node is None:
            return
        name = str(node.get("name"))
        unknown = set(node) - {"type", "name", "alias", "arguments"}
        if node.get("type") != "Function" or name.lower() not in allowed.TABLE_FUNCTIONS or unknown:
            raise QueryRefused(
                f"the table function {name} is not allowed here; "
                f"these are: {', '.join(sorted(allowed.TABLE_FUNCTIONS))}"
            )
        if name.lower() == "values":
            _refuse_state_types(name, arguments(node)[:1])

    def _function(self, node: Node) -> None:
        name = str(node.get("name"))
        self._function_name(name)
        if name.lower() in allowed.CAST_FUNCTIONS:
            _refuse_state_types(name, arguments(node)[1:2])

    def _function_name(self, name: str | None) -> None:
        functions = self._names.functions
        if name is None or name in functions:
            return
        near = difflib.get_close_matches(name, functions.exact, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise QueryRefused(
            f"the function {name} is not allowed here: only functions that compute from their arguments are, "
            f"not those that read files, settings, dictionaries, host or network.{hint}"
        )

    def _parameter(self, node: Node) -> None:
        name, kind = str(node.get("name")), str(node.get("param_type"))
        if not allowed.PARAMETER_NAME.fullmatch(name):
            raise QueryRefused(f"{name!r} can't name a parameter: use a-z, A-Z, 0-9 and _")
        if "identifier" in kind.lower() or "aggregatefunction" in kind.lower():
            raise QueryRefused(
                f"the parameter {{{name}:{kind}}} is not allowed here: parameters are for values"
            )
        self.parameters.add(name)


_SCALAR_LISTS = frozenset({"name_parts", "list_of_modes"})
_WHY_NOT = {
    "settings": "SETTINGS are allowed only at the end of the whole query",
    "out_file": "INTO OUTFILE is not allowed here; write the answer to a file on your side",
}


def arguments(function: Node) -> list[Node]:
    return list((function.get("arguments") or {}).get("children", []))


def _parts(node: Node) -> list[str]:
    return node.get("name_parts") or [str(node.get("name"))]


def _cte_names(node: Node) -> frozenset[str]:
    """Subqueries that this query names; the first SELECT of a UNION names them for all."""
    if node["type"] == "SelectWithUnionQuery":
        return _cte_names(node["list_of_selects"]["children"][0])
    elements = (node.get("with") or {}).get("children", [])
    return frozenset(e["name"] for e in elements if e.get("type") == "WithElement")


def _refuse_state_types(function: str, types: list[Node]) -> None:
    for node in types:
        value = node.get("value") if node.get("type") == "Literal" else None
        if value is None or value["field_type"] != "String":
            raise QueryRefused(f"{function} needs its type as a plain string here")
        if "aggregatefunction" in str(value["value"]).lower():
            raise QueryRefused(f"{function} to an AggregateFunction type is not allowed here")
