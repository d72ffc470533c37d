ALTER TABLE otel_traces MODIFY SETTING enable_block_number_column = 1, enable_block_offset_column = 1
