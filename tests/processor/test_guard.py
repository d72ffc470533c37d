"""The guard against the real parser: what it lets through, what it makes of it, and why it refuses."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import clickhouse_connect
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracetaxa.errors import QueryFailed, QueryRefused, StoreError
from tracetaxa.store import allowed
from tracetaxa.store.guard import Guard, NotASelect, settings_clause
from tracetaxa.store.syntax import FunctionNames

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clickhouse_connect.driver.client import Client


@pytest.fixture(scope="module")
def own(chdb_path: Path) -> Iterator[Client]:
    """A database with the tables `t` and `u`, and another with the table `secret`."""
    name = f"guard_{uuid.uuid4().hex[:8]}"
    client = clickhouse_connect.get_client(dsn=f"chdb://{chdb_path}")
    for database in (name, f"{name}_other"):
        client.command(f"CREATE DATABASE {database}")
    client.database = name
    client.command(
        "CREATE TABLE t (a UInt32, b String, `Events.Name` Array(String)) ENGINE = MergeTree ORDER BY a"
    )
    client.command("CREATE TABLE u (a UInt32) ENGINE = ReplacingMergeTree ORDER BY a")
    client.command(f"CREATE TABLE {name}_other.secret (a UInt32) ENGINE = Memory")
    client.command(f"INSERT INTO {name}_other.secret VALUES (7)")
    yield client
    client.command(f"DROP DATABASE {name} SYNC")
    client.command(f"DROP DATABASE {name}_other SYNC")
    client.close()


@pytest.fixture(scope="module")
def guard(own: Client) -> Guard:
    return Guard(own, str(own.database))


# ------------------------------------------------------------------------------------------------- queries


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("select 1", "SELECT 1"),
        ("select 1;", "SELECT 1"),
        ("from t select a -- c ; drop table t", "SELECT a FROM t"),
        ("select /* ; */ 1", "SELECT 1"),
        ("(((select 1)))", "SELECT 1"),
        ("select 1 as {x:Identifier}", "SELECT 1"),
        ("select a in u from t", "SELECT a IN (u) FROM t"),
        ("select 'it''s; drop', $x$ ;drop $x$", "SELECT 'it\\'s; drop', ' ;drop '"),
        ("select `Events.Name` from t", "SELECT `Events.Name` FROM t"),
    ],
)
def test_what_runs_is_the_canonical_text(guard: Guard, sql: str, text: str) -> None:
    assert guard.check(sql) == text


def test_format_and_settings_are_taken_out(guard: Guard) -> None:
    checked = guard.examine(
        "select a from t settings max_threads=2, session_timezone='UTC' format jsoncompact"
    )
    assert checked.text == "SELECT a FROM t"
    assert checked.format == "JSONCompact"
    assert checked.settings == {"max_threads": "2", "session_timezone": "UTC"}
    assert guard.check("select 1 format JSON settings extremes=true") == "SELECT 1 SETTINGS extremes = '1'"


def test_settings_of_a_union_hold_for_all_of_it(guard: Guard) -> None:
    checked = guard.examine("select 1 union all select 2 settings max_execution_time=1.5")
    assert checked.text == "SELECT 1 UNION ALL SELECT 2"
    assert checked.settings == {"max_execution_time": "1.5"}


def test_setting_values_can_not_break_out(own: Client) -> None:
    value = "a'b\\', readonly = '0"
    clause = settings_clause({"log_comment": value})
    assert own.query(f"SELECT getSetting('log_comment') SETTINGS {clause}").result_rows == [(value,)]


def test_parameters_are_named(guard: Guard) -> None:
    checked = guard.examine(
        "select {a:UInt8}, {b:Array(String)} from t where a > {c:Nullable(Int64)} limit {d:UInt8}"
    )
    assert checked.parameters == {"a", "b", "c", "d"}


@pytest.mark.parametrize(
    "sql", ["show databases", "SHOW TABLES", "desc table t", 'DESCRIBE "t" format Native']
)
def test_browsing_becomes_a_select(guard: Guard, own: Client, sql: str) -> None:
    checked = guard.examine(sql)
    assert checked.text.startswith("SELECT name")
    names = [row[0] for row in own.query(checked.text).result_rows]
    assert {"show databases": str(own.database), "SHOW TABLES": "u"}.get(sql, "Events.Name") in names


def test_describe_has_the_columns_of_clickhouse(guard: Guard, own: Client) -> None:
    ours = own.query(guard.check(f"DESCRIBE TABLE {own.database}.t"))
    theirs = own.query("DESCRIBE TABLE t")
    assert ours.column_names == theirs.column_names
    assert ours.result_rows == theirs.result_rows


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("select 1; select 2", "one statement"),
        ("explain ast select 1; drop table t", "one statement"),
        ("select file('x')", "function file"),
        ("select FQDN()", "function FQDN"),
        ("select * from file('x')", "table function file"),
        ("select 1 into outfile 'x'", "INTO OUTFILE"),
        ("select 1 format Parquet", "FORMAT Parquet"),
        ("select 1 settings readonly2=1", "setting readonly2"),
        ("select 1 settings max_threads=default", "DEFAULT"),
        ("select 1 settings param_x='1'", "parameters"),
        ("select 1 from (select 1 settings max_threads=1)", "end of the whole query"),
        ("select 1 settings max_threads=1 union all select 2", "end of the whole query"),
        ("select * from {x:Identifier}", "parameters are for values"),
        ("select {x:Identifier} from t", "parameters are for values"),
        ("select {x:AggregateFunction(sum, UInt8)}", "parameters are for values"),
        ("select a from t stream", "not allowed"),
        ("select unhex('00')::AggregateFunction(sum, UInt64)", "AggregateFunction"),
        ("select cast(unhex('00'), concat('AggregateFunc', 'tion(sum, UInt64)'))", "plain string"),
        ("select * from values('s AggregateFunction(sum, UInt64)', '')", "AggregateFunction"),
        ("select * from t limit 1 by a settings allow_introspection_functions=1", "allow_introspection"),
        ("select countt() from t", "Did you mean count"),
    ],
)
def test_refusals_say_which_part(guard: Guard, sql: str, reason: str) -> None:
    with pytest.raises(QueryRefused, match=reason):
        guard.examine(sql)


@pytest.mark.parametrize(
    "sql", ["insert into t select 1", "drop table t", "set a=1", "show grants", "explain select 1"]
)
def test_other_statements(guard: Guard, sql: str) -> None:
    with pytest.raises(NotASelect, match="only SELECT"):
        guard.examine(sql)


@pytest.mark.parametrize(
    "sql", ["", "   ", "-- nothing", "select", "select 1 from", "select 'open", "select (1"]
)
def test_syntax_errors_are_clickhouses(guard: Guard, sql: str) -> None:
    with pytest.raises(QueryFailed, match=r"Code: 62\. DB::Exception: .*\(SYNTAX_ERROR\)"):
        guard.examine(sql)


def test_a_missing_table_is_named(guard: Guard) -> None:
    with pytest.raises(QueryFailed, match=r"Code: 60\. .*tt.*did you mean t\?.*UNKNOWN_TABLE"):
        guard.examine("select * from tt")


@pytest.mark.parametrize(
    "sql",
    [
        "select * from OTHER.secret",
        "select * from `OTHER`.`secret`",
        "select 7 in OTHER.secret",
        "select 7 in (OTHER.secret)",
        "select 7 in tuple(OTHER.secret, 1)",
        "with OTHER.secret as x select 7 in (x)",
        "select (OTHER.secret as x), 7 in x",
        "select in(7, OTHER.secret)",
        "select globalIn(7, OTHER.secret)",
        "select a from t where (a, 1) not in (select a, 1 from OTHER.secret)",
        "select * from view(select * from OTHER.secret)",
        "desc table OTHER.secret",
    ],
)
def test_other_databases_stay_closed(guard: Guard, own: Client, sql: str) -> None:
    sql = sql.replace("OTHER", f"{own.database}_other")
    if sql.startswith("desc"):
        # Names of columns, as in system.columns, and no rows.
        assert guard.check(sql).startswith("SELECT name, type")
        return
    with pytest.raises(QueryRefused, match="only tables of database"):
        guard.examine(sql)


def test_names_of_subqueries_are_tables_only_where_they_hold(guard: Guard) -> None:
    assert guard.check("with x as (select 1 as a) select * from x union all select * from x")
    assert guard.check(
        "with recursive r as (select 1 as n union all select n + 1 from r where n < 3) select * from r"
    )
    with pytest.raises(QueryFailed, match="UNKNOWN_TABLE"):
        guard.examine("select * from (with x as (select 1) select * from x), x")


def test_a_database_of_files_is_not_served(own: Client) -> None:
    with pytest.raises(QueryRefused, match="Overlay"):
        Guard(own, "default").check("select * from `/etc/passwd`")


def test_length_is_limited_in_bytes(own: Client) -> None:
    small = Guard(own, str(own.database), max_query_bytes=100)
    assert small.check("select '" + "x" * 80 + "'")
    for text in ("x" * 100, "é" * 50):
        with pytest.raises(QueryRefused, match="longer than 100 bytes"):
            small.check(f"select '{text}'")


@pytest.mark.parametrize(
    "sql",
    [
        "select " + "(" * 5000 + "1" + ")" * 5000,
        "select " + "[" * 900 + "1" + "]" * 900,
        "select " + "not " * 2000 + "1",
        "select " + "1+" * 50_000 + "1",
        "select * from (" * 300 + "select 1" + ")" * 300,
        "select " + "sin(" * 400 + "1" + ")" * 400,
    ],
    ids=["parentheses", "arrays", "nots", "sum", "subqueries", "calls"],
)
def test_deep_nesting_ends_in_an_error(guard: Guard, sql: str) -> None:
    with pytest.raises(StoreError):
        guard.examine(sql)
    assert guard.check("select 1") == "SELECT 1"


# ------------------------------------------------------------------------------------------------- functions


REACHING = [
    *(
        "file",
        "FILE",
        "sleep",
        "sleepEachRow",
        "sleepState",
        "fileIf",
        "noSuchFunction",
        "formatQueryFromJSON",
    ),
    *(
        "getSetting",
        "getSettingOrDefault",
        "getServerSetting",
        "getMergeTreeSetting",
        "getMacro",
        "__getScalar",
    ),
    *("hostName", "FQDN", "fqdn", "tcpPort", "getServerPort", "serverUUID", "buildId", "getOSKernelVersion"),
    *("dictGet", "dictGetString", "dictHas", "joinGet", "joinGetOrNull", "hasColumnInTable", "regionToName"),
    *(
        "aiGenerate",
        "AIGenerate",
        "evalMLMethod",
        "naiveBayesClassifier",
        "formatRow",
        "groupFormat",
        "_CAST",
    ),
    *(
        "addressToLine",
        "addressToSymbol",
        "demangle",
        "logTrace",
        "tid",
        "flameGraph",
        "aggThrow",
        "fuzzQuery",
    ),
    *(
        "filesystemAvailable",
        "transactionID",
        "zookeeperSessionUptime",
        "showCertificate",
        "generateSerialID",
    ),
    *(
        "connectionId",
        "getClientHTTPHeader",
        "currentRequestURL",
        "globalVariable",
        "currentRoles",
        "decrypt",
    ),
]
COMPUTING = [
    *("count", "COUNT", "sumIf", "countDistinct", "quantilesTDigestArrayIf", "uniqExactMergeState", "sumMap"),
    *("argMaxOrNull", "groupArrayDistinct", "median", "stddevPop", "rank", "row_number", "lagInFrame"),
    *(
        "toStartOfInterval",
        "dateDiff",
        "date_diff",
        "formatDateTime",
        "now64",
        "timezone",
        "mapKeys",
        "arrayJoin",
    ),
    *("JSONExtractString", "JSON_VALUE", "has", "splitByChar", "replaceRegexpAll", "domain", "lower", "hex"),
    *("multiIf", "if", "IF", "coalesce", "toString", "CAST", "tuple", "lambda", "exists", "in", "notIn"),
    *("version", "displayName", "currentDatabase", "sparkbar", "windowFunnel", "simpleLinearRegression"),
]


def test_functions_that_reach_out_are_denied(own: Client) -> None:
    functions = FunctionNames.load(own)
    assert [name for name in REACHING if name in functions] == []


def test_functions_that_compute_are_allowed(own: Client) -> None:
    functions = FunctionNames.load(own)
    assert [name for name in COMPUTING if name not in functions] == []


def test_the_list_names_functions_that_exist(own: Client) -> None:
    exist = {name for (name,) in own.query("SELECT name FROM system.functions").result_rows}
    assert sorted((allowed.FUNCTIONS | allowed.DENIED_FUNCTIONS) - exist) == []
    formats = {name for (name,) in own.query("SELECT name FROM system.formats WHERE is_output").result_rows}
    assert sorted(set(allowed.FORMATS) - formats) == []
    settings_ = {name for (name,) in own.query("SELECT name FROM system.settings").result_rows}
    assert sorted((allowed.SETTINGS | allowed.CAPPED_SETTINGS) - settings_) == []
    tables = {
        name for (name,) in own.query("SELECT name FROM system.tables WHERE database = 'system'").result_rows
    }
    assert sorted(allowed.SYSTEM_TABLES - tables) == []


# ------------------------------------------------------------------------------------------------- conditions


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("a > 1 or b = 'x'", "(a > 1) OR (b = 'x')"),
        ("b like '%it''s%' -- and more", "b LIKE '%it\\'s%'"),
        ("has(`Events.Name`, 'x')", "has(`Events.Name`, 'x')"),
        ("a in (select a from u)", "a IN (SELECT a FROM u)"),
        ("a between 1 and 2", "(a >= 1) AND (a <= 2)"),
        ("true", "true"),
    ],
)
def test_condition(guard: Guard, own: Client, condition: str, text: str) -> None:
    checked = guard.check_condition(condition)
    assert checked == text
    assert own.query(f"SELECT count() FROM t WHERE 1 AND ({checked})").result_rows == [(0,)]


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "1) or (1",
        "1, 2",
        "a as b",
        "*",
        "a from t",
        "a where 1",
        "1 union all select 1",
        "1 settings max_threads=1",
        "1 format JSON",
        "1 into outfile 'x'",
        "distinct a",
        "1; drop table t",
        "1 limit 1",
        "{x:UInt8}",
        "a in (select 1 from system.users)",
        "file('x') = ''",
        "sleep(3)",
        "a in system.users",
        "1 /* ",
        "(1",
        "1)",
        "'",
    ],
)
def test_condition_refused(guard: Guard, condition: str) -> None:
    with pytest.raises(StoreError):
        guard.check_condition(condition)


# ------------------------------------------------------------------------------------------------- any text

_WORDS = st.sampled_from(
    [
        *("select", "from", "where", "in", "union all", "with", "as", "drop table", "insert into", "values"),
        *(
            "into outfile",
            "format",
            "JSON",
            "settings",
            "readonly",
            "=",
            "1",
            "t",
            "u",
            "a",
            "b",
            "system",
            "users",
        ),
        *(
            ".",
            ",",
            ";",
            "(",
            ")",
            "[",
            "]",
            "'",
            '"',
            "`",
            "--",
            "/*",
            "*/",
            "#",
            "{",
            "}",
            ":",
            "$$",
            "\\",
            "\n",
        ),
        *("Identifier", "String", "file", "url", "numbers"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(_WORDS, max_size=14).map(" ".join), st.text(max_size=40).map("select ".__add__)))
def test_any_text_is_checked_or_refused(guard: Guard, text: str) -> None:
    try:
        checked = guard.examine(text)
    except StoreError:
        return
    again = guard.examine(checked.text)
    assert (again.text, again.format, again.settings) == (checked.text, None, {})
