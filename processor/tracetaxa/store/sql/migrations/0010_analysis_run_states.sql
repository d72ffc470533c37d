-- Every state a run was in; the view analysis_runs has the newest.
CREATE TABLE IF NOT EXISTS analysis_run_states
(
    RunId String,
    Analysis LowCardinality(String),
    WindowStart DateTime64(9),
    WindowEnd DateTime64(9),
    Status Enum8('running' = 1, 'complete' = 2, 'partial' = 3, 'failed' = 4, 'cancelled' = 5),
    Engine LowCardinality(String),
    Models Array(LowCardinality(String)),
    PromptFingerprints Map(String, String),
    TracesSelected UInt64,
    TracesSampled UInt64,
    TracesLabelled UInt64,
    TracesAbstained UInt64,
    StillOpen UInt64,
    InputTokens UInt64,
    OutputTokens UInt64,
    CostUsd Nullable(Float64),
    StartedAt DateTime64(9),
    FinishedAt DateTime64(9),
    Config String CODEC(ZSTD(3)),
    Error String,
    UpdatedAt DateTime64(9)
)
ENGINE = ReplacingMergeTree(UpdatedAt)
ORDER BY (Analysis, RunId)
