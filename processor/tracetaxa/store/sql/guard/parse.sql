-- The tree of one statement, and what its names may mean.
SELECT
    parseQueryToJSON({sql:String}),
    (SELECT groupArray(name) FROM system.databases),
    (SELECT any(engine) FROM system.databases WHERE name = {database:String}),
    (SELECT groupArray(name) FROM system.tables WHERE database = {database:String})
