-- What lightweight updates of otel_traces depend on: its engine, whether this user may make them (nothing where ClickHouse
-- does not know them), and the settings of tables that they need, first as the server has them, then as this table says.
SELECT
    engine AS Engine,
    (SELECT groupArray(value) FROM system.settings WHERE name = 'enable_lightweight_update') AS Enabled,
    arrayConcat(
        (
            SELECT groupArray(concat(name, ' = ', value))
            FROM system.merge_tree_settings
            WHERE name IN ('enable_block_number_column', 'enable_block_offset_column')
        ),
        extractAll(engine_full, '(enable_block_(?:number|offset)_column = \\w+)')
    ) AS Settings
FROM system.tables
WHERE database = currentDatabase() AND name = 'otel_traces'
