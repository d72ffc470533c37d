-- The server's clock, so that those of the processes need not agree.
INSERT INTO run_leases (Analysis, Holder, Event, LeaseMs, At)
SELECT {analysis:String}, {holder:String}, {event:String}, {lease_ms:UInt32}, now64(9)
