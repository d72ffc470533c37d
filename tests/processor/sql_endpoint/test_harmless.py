"""What people and dashboards ask, and the rows that they get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sql_serving import Server

T0 = "toDateTime64('2026-01-01 00:00:00', 9, 'UTC')"

HARMLESS = [
    # Time series, as Grafana's macros expand.
    (
        (
            "SELECT toStartOfInterval(toDateTime(Timestamp), INTERVAL 300 second) AS time, count() AS spans "
            "FROM otel_traces WHERE Timestamp >= toDateTime64(1767225600000/1000, 3) AND "
            "Timestamp <= toDateTime64(1767229200000/1000, 3) GROUP BY time ORDER BY time"
        ),
        [["2026-01-01 00:00:00", "5"], ["2026-01-01 00:05:00", "5"], ["2026-01-01 00:10:00", "2"]],
    ),
    (
        (
            "SELECT toUnixTimestamp(toStartOfMinute(Timestamp)) * 1000 AS t, max(Duration) FROM otel_traces "
            "WHERE toDate(Timestamp) = toDate('2026-01-01') GROUP BY t ORDER BY t LIMIT 1"
        ),
        [["1767225600000", "1000000"]],
    ),
    (
        (
            "SELECT toStartOfInterval(Start, INTERVAL 6 minute) AS time, Status, count() FROM traces FINAL "
            "GROUP BY time, Status ORDER BY time, Status"
        ),
        [
            ["2026-01-01 00:00:00", "Error", "1"],
            ["2026-01-01 00:00:00", "Ok", "1"],
            ["2026-01-01 00:06:00", "Ok", "2"],
        ],
    ),
    (
        (
            f"SELECT toStartOfMinute(Timestamp) AS m, count() FROM otel_traces WHERE Timestamp < {T0} + INTERVAL 2 MINUTE "
            "GROUP BY m ORDER BY m WITH FILL FROM toDateTime('2026-01-01 00:00:00', 'UTC') "
            "TO toDateTime('2026-01-01 00:03:00', 'UTC') STEP INTERVAL 1 MINUTE"
        ),
        [["2026-01-01 00:00:00", "1"], ["2026-01-01 00:01:00", "1"], ["2026-01-01 00:02:00", "0"]],
    ),
    (
        "SELECT n, v FROM (SELECT 1 AS n, 5 AS v) ORDER BY n WITH FILL FROM 0 TO 3 INTERPOLATE (v AS v + 1)",
        [[0, 1], [1, 5], [2, 6]],
    ),
    # Aggregates.
    (
        "SELECT count(), uniqExact(TraceId), countIf(StatusCode = 'Error') FROM otel_traces",
        [["12", "4", "3"]],
    ),
    ("SELECT quantilesExact(0.5, 0.9)(Duration / 1e6) FROM otel_traces", [[[7, 11]]]),
    ("SELECT round(avg(DurationMs), 2), sum(CostUsd) FROM traces FINAL", [[5.25, 0.75]]),
    ("SELECT argMax(TraceId, Duration) FROM otel_traces", [["0" * 31 + "3"]]),
    ("SELECT topK(1)(ServiceName) FROM otel_traces WHERE Duration < 8e6", [[["shop"]]]),
    (
        "SELECT groupArray(3)(SpanName) FROM (SELECT SpanName FROM otel_traces ORDER BY Timestamp)",
        [[["agent", "chat", "tool"]]],
    ),
    ("SELECT quantileTDigestIfOrNull(0.5)(Duration, 0) FROM otel_traces", [[None]]),
    ("SELECT sumMap(map(ServiceName, toUInt64(1))) FROM traces FINAL", [[{"bank": "2", "shop": "2"}]]),
    (
        "SELECT ServiceName, count() FROM otel_traces GROUP BY ServiceName WITH ROLLUP ORDER BY 1",
        [["", "12"], ["bank", "6"], ["shop", "6"]],
    ),
    (
        "SELECT count() FROM otel_traces GROUP BY GROUPING SETS ((ServiceName), ()) ORDER BY 1",
        [["6"], ["6"], ["12"]],
    ),
    (
        "SELECT SpanName, count() FROM otel_traces GROUP BY ALL HAVING count() > 1 ORDER BY ALL LIMIT 1",
        [["agent", "4"]],
    ),
    ("SELECT count(DISTINCT ServiceName) FROM traces", [["2"]]),
    ("SELECT countMerge(s) FROM (SELECT countState() AS s FROM traces FINAL)", [["4"]]),
    # Maps, arrays, nested columns, JSON.
    (
        "SELECT SpanAttributes['gen_ai.request.model'] AS m, count() FROM otel_traces GROUP BY m ORDER BY m",
        [["large", "6"], ["small", "6"]],
    ),
    (
        "SELECT DISTINCT arrayJoin(mapKeys(SpanAttributes)) AS k FROM otel_traces ORDER BY k LIMIT 1",
        [["gen_ai.request.model"]],
    ),
    (
        "SELECT DISTINCT arrayJoin(SpanAttributes.keys) AS keys FROM otel_traces ORDER BY keys DESC LIMIT 1",
        [["payload"]],
    ),
    ("SELECT sum(toUInt64OrZero(SpanAttributes['gen_ai.usage.input_tokens'])) FROM otel_traces", [["1266"]]),
    ("SELECT JSONExtractInt(SpanAttributes['payload'], 'a', 'b', 1) FROM otel_traces LIMIT 1", [["7"]]),
    ("SELECT JSON_VALUE(SpanAttributes['payload'], '$.a.b[1]') FROM otel_traces LIMIT 1", [["8"]]),
    (
        "SELECT tool, count() FROM traces FINAL ARRAY JOIN Tools AS tool GROUP BY tool ORDER BY tool",
        [["pay", "4"], ["search", "4"]],
    ),
    ("SELECT `Events.Name`[1], Events.Attributes[1]['k'] FROM otel_traces LIMIT 1", [["exception", "v"]]),
    (
        "SELECT arrayFilter(x -> x > 1, [1, 2, 3]), arraySum(arrayMap((x, y) -> x * y, [1, 2], [3, 4]))",
        [[[2, 3], "11"]],
    ),
    ("SELECT tupleElement((1, 'a'), 2), (1, 'b').2, [10, 20][2], map('a', 1)['a']", [["a", "b", 20, 1]]),
    # Windows.
    (
        (
            "SELECT SpanName, row_number() OVER (PARTITION BY TraceId ORDER BY Timestamp) AS n FROM otel_traces "
            "WHERE TraceId LIKE '%3' ORDER BY n"
        ),
        [["agent", "1"], ["chat", "2"], ["tool", "3"]],
    ),
    (
        "SELECT sum(n) OVER w FROM (SELECT number AS n FROM numbers(3)) WINDOW w AS (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
        [["0"], ["1"], ["3"]],
    ),
    ("SELECT SpanName FROM otel_traces QUALIFY rank() OVER (ORDER BY Duration DESC) = 1", [["tool"]]),
    # Subqueries, CTEs, joins, unions.
    (
        "WITH slow AS (SELECT TraceId FROM otel_traces WHERE Duration > 9e6) SELECT count() FROM traces FINAL WHERE TraceId IN (SELECT TraceId FROM slow)",
        [["1"]],
    ),
    (
        "WITH slow AS (SELECT TraceId FROM otel_traces) SELECT count() FROM traces FINAL WHERE TraceId IN slow",
        [["4"]],
    ),
    ("WITH 2 AS factor SELECT factor * 21", [[42]]),
    (
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT sum(n) FROM r",
        [["6"]],
    ),
    (
        "SELECT l.Category, count() FROM trace_labels_current AS l INNER JOIN traces AS t FINAL ON l.TraceId = t.TraceId WHERE l.Analysis = 'topics' GROUP BY l.Category ORDER BY 1",
        [["Other", "2"], ["Refunds", "2"]],
    ),
    (
        "SELECT count() FROM traces AS t FINAL ANY LEFT JOIN trace_labels_current AS l USING (TraceId)",
        [["4"]],
    ),
    ("SELECT x FROM (SELECT 1 AS x UNION ALL SELECT 2 UNION DISTINCT SELECT 2) ORDER BY x", [[1], [2]]),
    ("SELECT number FROM numbers(3) EXCEPT SELECT 1", [["0"], ["2"]]),
    ("SELECT count() FROM {DB}.traces FINAL", [["4"]]),
    (
        "SELECT count() FROM \"{DB}\".\"otel_traces_labelled\" WHERE SpanAttributes['tracetaxa.topics.category'] = 'Refunds'",
        [["6"]],
    ),
    ("SELECT (SELECT count() FROM traces FINAL) / 2", [[2]]),
    # Clauses.
    (
        "SELECT TraceId FROM otel_traces PREWHERE ServiceName = 'bank' WHERE Duration > 0 ORDER BY Timestamp DESC LIMIT 1 BY TraceId LIMIT 1 OFFSET 1",
        [["0" * 31 + "2"]],
    ),
    ("SELECT * EXCEPT (secret), COLUMNS('sec') APPLY (length) FROM canary", [["19"]]),
    ("SELECT * REPLACE (upper(secret) AS secret) FROM canary", [["THE CANARY'S SECRET"]]),
    (
        "SELECT DISTINCT ServiceName FROM otel_traces ORDER BY ServiceName SETTINGS max_execution_time = 10",
        [["bank"], ["shop"]],
    ),
    (
        "SELECT if(Status = 'Error', 1, 0) AS e, CASE WHEN e THEN 'bad' ELSE 'good' END, multiIf(e = 1, 'x', 'y') FROM traces FINAL ORDER BY TraceId LIMIT 1",
        [[1, "bad", "x"]],
    ),
    (
        "SELECT CASE Status WHEN 'Error' THEN 'bad' ELSE 'good' END FROM traces FINAL ORDER BY TraceId LIMIT 1",
        [["bad"]],
    ),
    (
        "SELECT CostUsd IS NULL, coalesce(CostUsd, 0) FROM traces FINAL ORDER BY TraceId DESC LIMIT 1",
        [[1, 0]],
    ),
    (
        "SELECT 'a' ILIKE 'A', 'x' REGEXP '^x', 2 BETWEEN 1 AND 3, NOT 0, 5 IN (1, 5), -1 < 0",
        [[1, 1, 1, 1, 1, 1]],
    ),
    (
        "SELECT formatReadableSize(1024), formatDateTime(toDateTime(0, 'UTC'), '%Y'), dateDiff('minute', toDateTime(0), toDateTime(120))",
        [["1.00 KiB", "1970", "2"]],
    ),
    ("SELECT * FROM values('a UInt8, b String', (1, 'x'), (2, 'y'))", [[1, "x"], [2, "y"]]),
    ("SELECT generate_series FROM generate_series(2, 3)", [["2"], ["3"]]),
    # What clients ask on connecting and browsing.
    ("SELECT displayName() != '', version() LIKE '2%', revision() > 54000, timezone() != ''", [[1, 1, 1, 1]]),
    ("SELECT name FROM system.tables WHERE database = currentDatabase() AND name = 'traces'", [["traces"]]),
    (
        "SELECT name, type FROM system.columns WHERE database = '{DB}' AND table = 'canary'",
        [["secret", "String"]],
    ),
    ("SELECT value FROM system.settings WHERE name = 'max_threads_for_nothing'", []),
    ('DESC TABLE "{DB}"."canary"', [["secret", "String", "", "", "", "", ""]]),
]


def test_there_are_enough() -> None:
    assert len(HARMLESS) >= 40


@pytest.mark.parametrize(("sql", "rows"), HARMLESS)
def test_harmless(server: Server, sql: str, rows: Any) -> None:
    reply = server.ask(sql.replace("{DB}", server.database), output_format_json_quote_64bit_integers="1")
    assert reply.status == 200, reply.text
    assert reply.data == rows
