ALTER TABLE forward_spool
DROP PARTITION ID {partition:String}
