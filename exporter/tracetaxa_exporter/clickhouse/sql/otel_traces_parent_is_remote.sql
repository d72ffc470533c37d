-- For tables that were created before they had this column.
ALTER TABLE otel_traces
ADD COLUMN IF NOT EXISTS ParentIsRemote Bool DEFAULT false
