SELECT max(Through) AS Through FROM label_write_backs
