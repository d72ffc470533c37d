-- Since when this destination is served, 1970 when it never was, and by which name this deployment marks spans.
SELECT
    minIf(At, Destination = {destination:String}) AS Since,
    argMin(Instance, At) AS Instance,
    countIf(Destination = {destination:String}) AS Known,
    now64(9) AS CurrentTime
FROM forward_events
WHERE Event = 'started'
