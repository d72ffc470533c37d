-- The spool's partitions on this server, the oldest first: of fifteen minutes each, named by the second they begin.
SELECT
    partition_id AS Partition,
    toUInt32(partition_id) AS FirstSecond,
    sum(bytes_on_disk) AS Bytes,
    sum(rows) AS Spans,
    now64(9) AS CurrentTime
FROM system.parts
WHERE database = currentDatabase() AND table IN ('forward_spool', 'forward_spool_local') AND active AND rows > 0
GROUP BY partition_id
ORDER BY FirstSecond
