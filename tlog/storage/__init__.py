"""PostgreSQL, the only database: the one room that sees psycopg.

`embedded` runs the default server, `database` connects in the right role and checks what promises rest on, `migrate`
brings the schema up to date, `log` reads and writes the log, `keys` keeps API keys. SQL is in `queries.sql` and
`migrations/`.
"""
