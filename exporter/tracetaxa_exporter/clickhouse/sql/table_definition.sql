SELECT create_table_query, comment, engine
FROM system.tables
WHERE database = currentDatabase() AND name = {table:String}
