CREATE DATABASE IF NOT EXISTS {name:Identifier} ON CLUSTER 'agents'
CREATE TABLE IF NOT EXISTS otel.tracetaxa_migrations_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', AppliedAt)
CREATE TABLE IF NOT EXISTS otel.tracetaxa_migrations ON CLUSTER 'agents' AS otel.tracetaxa_migrations_local
ENGINE = Distributed('agents', 'otel', 'tracetaxa_migrations_local', cityHash64(Version))
CREATE TABLE IF NOT EXISTS otel.otel_logs_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.otel_logs ON CLUSTER 'agents' AS otel.otel_logs_local
ENGINE = Distributed('agents', 'otel', 'otel_logs_local', cityHash64(TraceId, if(TraceId = '', toUnixTimestamp64Nano(Timestamp), 0)))
ALTER TABLE otel.otel_logs_local ON CLUSTER 'agents'
MODIFY TTL toDateTime(Timestamp) + toIntervalDay({retention_days:UInt16})
CREATE TABLE IF NOT EXISTS otel.otel_traces_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.otel_traces ON CLUSTER 'agents' AS otel.otel_traces_local
ENGINE = Distributed('agents', 'otel', 'otel_traces_local', cityHash64(TraceId))
CREATE VIEW IF NOT EXISTS otel.otel_traces_once_local ON CLUSTER 'agents' AS
FROM otel.otel_traces_local AS otel_traces
CREATE TABLE IF NOT EXISTS otel.otel_traces_once ON CLUSTER 'agents' AS otel.otel_traces_once_local
ENGINE = Distributed('agents', 'otel', 'otel_traces_once_local')
ALTER TABLE otel.otel_traces_local ON CLUSTER 'agents'
ADD COLUMN IF NOT EXISTS ParentIsRemote Bool DEFAULT false
ALTER TABLE otel.otel_traces ON CLUSTER 'agents'
ADD COLUMN IF NOT EXISTS ParentIsRemote Bool DEFAULT false
ALTER TABLE otel.otel_traces_local ON CLUSTER 'agents'
MODIFY TTL toDateTime(Timestamp) + toIntervalDay({retention_days:UInt16})
CREATE TABLE IF NOT EXISTS otel.otel_traces_trace_id_ts_local ON CLUSTER 'agents'
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.otel_traces_trace_id_ts ON CLUSTER 'agents' AS otel.otel_traces_trace_id_ts_local
ENGINE = Distributed('agents', 'otel', 'otel_traces_trace_id_ts_local', cityHash64(TraceId))
CREATE MATERIALIZED VIEW IF NOT EXISTS otel.otel_traces_trace_id_ts_mv ON CLUSTER 'agents' TO otel.otel_traces_trace_id_ts_local AS
FROM otel.otel_traces_local AS otel_traces
ALTER TABLE otel.otel_traces_trace_id_ts_local ON CLUSTER 'agents'
MODIFY TTL toDateTime(Start) + toIntervalDay({retention_days:UInt16})
CREATE TABLE IF NOT EXISTS otel.trace_activity_local ON CLUSTER 'agents'
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.trace_activity ON CLUSTER 'agents' AS otel.trace_activity_local
ENGINE = Distributed('agents', 'otel', 'trace_activity_local', cityHash64(TraceId))
CREATE MATERIALIZED VIEW IF NOT EXISTS otel.trace_activity_mv ON CLUSTER 'agents' TO otel.trace_activity_local AS
FROM otel.otel_traces_local AS otel_traces
CREATE TABLE IF NOT EXISTS otel.traces_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', Revision)
CREATE TABLE IF NOT EXISTS otel.traces ON CLUSTER 'agents' AS otel.traces_local
ENGINE = Distributed('agents', 'otel', 'traces_local', cityHash64(TraceId))
CREATE TABLE IF NOT EXISTS otel.taxonomies_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', CreatedAt)
CREATE TABLE IF NOT EXISTS otel.taxonomies ON CLUSTER 'agents' AS otel.taxonomies_local
ENGINE = Distributed('agents', 'otel', 'taxonomies_local', cityHash64(Analysis))
CREATE TABLE IF NOT EXISTS otel.trace_labels_local ON CLUSTER 'agents'
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.trace_labels ON CLUSTER 'agents' AS otel.trace_labels_local
ENGINE = Distributed('agents', 'otel', 'trace_labels_local', cityHash64(TraceId))
CREATE TABLE IF NOT EXISTS otel.trace_label_winners_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', Precedence)
CREATE TABLE IF NOT EXISTS otel.trace_label_winners ON CLUSTER 'agents' AS otel.trace_label_winners_local
ENGINE = Distributed('agents', 'otel', 'trace_label_winners_local', cityHash64(TraceId))
CREATE MATERIALIZED VIEW IF NOT EXISTS otel.trace_label_winners_mv ON CLUSTER 'agents' TO otel.trace_label_winners_local AS
FROM otel.trace_labels_local AS trace_labels
CREATE VIEW IF NOT EXISTS otel.trace_labels_current_local ON CLUSTER 'agents' AS
FROM otel.trace_label_winners_local AS trace_label_winners
CREATE TABLE IF NOT EXISTS otel.trace_labels_current ON CLUSTER 'agents' AS otel.trace_labels_current_local
ENGINE = Distributed('agents', 'otel', 'trace_labels_current_local')
CREATE TABLE IF NOT EXISTS otel.run_samples_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.run_samples ON CLUSTER 'agents' AS otel.run_samples_local
ENGINE = Distributed('agents', 'otel', 'run_samples_local', cityHash64(TraceId))
CREATE TABLE IF NOT EXISTS otel.analysis_run_states_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', UpdatedAt)
CREATE TABLE IF NOT EXISTS otel.analysis_run_states ON CLUSTER 'agents' AS otel.analysis_run_states_local
ENGINE = Distributed('agents', 'otel', 'analysis_run_states_local', cityHash64(Analysis))
CREATE VIEW IF NOT EXISTS otel.analysis_runs_local ON CLUSTER 'agents' AS
FROM otel.analysis_run_states_local AS analysis_run_states FINAL
CREATE TABLE IF NOT EXISTS otel.analysis_runs ON CLUSTER 'agents' AS otel.analysis_runs_local
ENGINE = Distributed('agents', 'otel', 'analysis_runs_local')
CREATE TABLE IF NOT EXISTS otel.report_categories_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.report_categories ON CLUSTER 'agents' AS otel.report_categories_local
ENGINE = Distributed('agents', 'otel', 'report_categories_local', cityHash64(Analysis))
CREATE TABLE IF NOT EXISTS otel.reports_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', CreatedAt)
CREATE TABLE IF NOT EXISTS otel.reports ON CLUSTER 'agents' AS otel.reports_local
ENGINE = Distributed('agents', 'otel', 'reports_local', cityHash64(Analysis))
CREATE VIEW IF NOT EXISTS otel.otel_traces_labelled_local ON CLUSTER 'agents' AS
FROM otel.otel_traces_once_local AS spans
FROM otel.trace_labels_current_local AS trace_labels_current
CREATE TABLE IF NOT EXISTS otel.otel_traces_labelled ON CLUSTER 'agents' AS otel.otel_traces_labelled_local
ENGINE = Distributed('agents', 'otel', 'otel_traces_labelled_local')
CREATE MATERIALIZED VIEW IF NOT EXISTS otel.log_activity_mv ON CLUSTER 'agents' TO otel.trace_activity_local AS
FROM otel.otel_logs_local AS otel_logs
CREATE TABLE IF NOT EXISTS otel.feedback_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', GivenAt)
CREATE TABLE IF NOT EXISTS otel.feedback ON CLUSTER 'agents' AS otel.feedback_local
ENGINE = Distributed('agents', 'otel', 'feedback_local', cityHash64(if(TraceId = '', SessionId, TraceId)))
CREATE MATERIALIZED VIEW IF NOT EXISTS otel.feedback_activity_mv ON CLUSTER 'agents' TO otel.trace_activity_local AS
FROM otel.feedback_local AS feedback
CREATE TABLE IF NOT EXISTS otel.sessions_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', Revision)
CREATE TABLE IF NOT EXISTS otel.sessions ON CLUSTER 'agents' AS otel.sessions_local
ENGINE = Distributed('agents', 'otel', 'sessions_local', cityHash64(SessionId))
CREATE TABLE IF NOT EXISTS otel.session_activity_local ON CLUSTER 'agents'
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.session_activity ON CLUSTER 'agents' AS otel.session_activity_local
ENGINE = Distributed('agents', 'otel', 'session_activity_local', cityHash64(SessionId))
CREATE MATERIALIZED VIEW IF NOT EXISTS otel.session_activity_mv ON CLUSTER 'agents' TO otel.session_activity_local AS
FROM otel.traces_local AS traces
CREATE MATERIALIZED VIEW IF NOT EXISTS otel.session_feedback_activity_mv ON CLUSTER 'agents' TO otel.session_activity_local AS
FROM otel.feedback_local AS feedback
INSERT INTO session_activity
FROM traces
CREATE TABLE IF NOT EXISTS otel.trace_revisions_local ON CLUSTER 'agents'
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.trace_revisions ON CLUSTER 'agents' AS otel.trace_revisions_local
ENGINE = Distributed('agents', 'otel', 'trace_revisions_local', cityHash64(TraceId))
INSERT INTO trace_revisions (TraceId, Revision, LastSeen)
FROM traces
CREATE TABLE IF NOT EXISTS otel.model_replies_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', AnsweredAt)
CREATE TABLE IF NOT EXISTS otel.model_replies ON CLUSTER 'agents' AS otel.model_replies_local
ENGINE = Distributed('agents', 'otel', 'model_replies_local', cityHash64(Fingerprint))
CREATE TABLE IF NOT EXISTS otel.run_leases_local ON CLUSTER 'agents'
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.run_leases ON CLUSTER 'agents' AS otel.run_leases_local
ENGINE = Distributed('agents', 'otel', 'run_leases_local', cityHash64(Analysis))
CREATE TABLE IF NOT EXISTS otel.scheduled_runs_local ON CLUSTER 'agents'
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.scheduled_runs ON CLUSTER 'agents' AS otel.scheduled_runs_local
ENGINE = Distributed('agents', 'otel', 'scheduled_runs_local', cityHash64(Analysis))
CREATE TABLE IF NOT EXISTS otel.run_audits_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.run_audits ON CLUSTER 'agents' AS otel.run_audits_local
ENGINE = Distributed('agents', 'otel', 'run_audits_local', cityHash64(TraceId))
CREATE TABLE IF NOT EXISTS otel.classifiers_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', UsedAt)
CREATE TABLE IF NOT EXISTS otel.classifiers ON CLUSTER 'agents' AS otel.classifiers_local
ENGINE = Distributed('agents', 'otel', 'classifiers_local', cityHash64(Analysis))
CREATE TABLE IF NOT EXISTS otel.classifier_choices_local ON CLUSTER 'agents'
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.classifier_choices ON CLUSTER 'agents' AS otel.classifier_choices_local
ENGINE = Distributed('agents', 'otel', 'classifier_choices_local', cityHash64(Analysis))
CREATE TABLE IF NOT EXISTS otel.label_progress_local ON CLUSTER 'agents'
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', UpdatedAt)
CREATE TABLE IF NOT EXISTS otel.label_progress ON CLUSTER 'agents' AS otel.label_progress_local
ENGINE = Distributed('agents', 'otel', 'label_progress_local', cityHash64(Analysis))
CREATE TABLE IF NOT EXISTS otel.label_asks_local ON CLUSTER 'agents'
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.label_asks ON CLUSTER 'agents' AS otel.label_asks_local
ENGINE = Distributed('agents', 'otel', 'label_asks_local', cityHash64(Analysis))
CREATE OR REPLACE VIEW otel.trace_labels_current_local ON CLUSTER 'agents' AS
FROM otel.trace_label_winners_local AS trace_label_winners
FROM otel.trace_labels_local AS trace_labels
FROM otel.trace_labels_local AS trace_labels
CREATE TABLE IF NOT EXISTS otel.trace_labels_current ON CLUSTER 'agents' AS otel.trace_labels_current_local
ENGINE = Distributed('agents', 'otel', 'trace_labels_current_local')
CREATE TABLE IF NOT EXISTS otel.label_write_backs_local ON CLUSTER 'agents'
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.label_write_backs ON CLUSTER 'agents' AS otel.label_write_backs_local
ENGINE = Distributed('agents', 'otel', 'label_write_backs_local', cityHash64(WrittenAt))
CREATE TABLE IF NOT EXISTS otel.forward_spool_local ON CLUSTER 'agents'
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.forward_spool ON CLUSTER 'agents' AS otel.forward_spool_local
ENGINE = Distributed('agents', 'otel', 'forward_spool_local', cityHash64(TraceId))
CREATE TABLE IF NOT EXISTS otel.forward_deliveries_local ON CLUSTER 'agents'
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.forward_deliveries ON CLUSTER 'agents' AS otel.forward_deliveries_local
ENGINE = Distributed('agents', 'otel', 'forward_deliveries_local', cityHash64(TraceId))
CREATE TABLE IF NOT EXISTS otel.forward_events_local ON CLUSTER 'agents'
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
CREATE TABLE IF NOT EXISTS otel.forward_events ON CLUSTER 'agents' AS otel.forward_events_local
ENGINE = Distributed('agents', 'otel', 'forward_events_local', cityHash64(TraceId))
CREATE MATERIALIZED VIEW IF NOT EXISTS otel.forward_events_mv ON CLUSTER 'agents' TO otel.forward_events_local AS
FROM otel.trace_labels_local AS trace_labels
