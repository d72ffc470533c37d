SELECT DISTINCT Analysis FROM taxonomies ORDER BY Analysis
