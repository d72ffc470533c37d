"""ClickHouse: one client over the embedded engine and a server, statements by name, migrations, ownership."""
