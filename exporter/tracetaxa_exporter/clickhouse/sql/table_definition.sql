SELECT create_table_query, comment
FROM system.tables
WHERE database = currentDatabase() AND name = {table:String}
