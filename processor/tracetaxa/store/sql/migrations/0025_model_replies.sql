-- Answers of models by what they were asked: a run that is made again does not pay again.
CREATE TABLE IF NOT EXISTS model_replies
(
    Fingerprint String CODEC(ZSTD(1)),
    Model LowCardinality(String),
    Text String CODEC(ZSTD(3)),
    Data String CODEC(ZSTD(3)),
    InputTokens UInt32,
    OutputTokens UInt32,
    CachedTokens UInt32,
    AnsweredAt DateTime64(9)
)
ENGINE = ReplacingMergeTree(AnsweredAt)
ORDER BY Fingerprint
TTL toDateTime(AnsweredAt) + toIntervalDay({retention_days:UInt16})
SETTINGS index_granularity = 256
