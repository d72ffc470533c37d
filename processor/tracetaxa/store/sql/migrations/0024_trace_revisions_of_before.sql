-- The traces that were assembled before. Two replicas may both do it: a revision told twice is one.
INSERT INTO trace_revisions (TraceId, Revision, LastSeen)
SELECT TraceId, Revision, LastSeen
FROM traces
