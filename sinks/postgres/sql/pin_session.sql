-- Sets what a session would otherwise inherit from PG* variables, the URL, the role or the database. Behind a pooler the
-- server's session is another than the one that the client was given: then the settings last for this statement only.
SELECT current_setting('server_encoding'), current_database(), pg_backend_pid() <> %(backend_pid)s::integer, version(),
       (SELECT extversion FROM pg_extension WHERE extname = 'citus'),
       count(set_config(name, value, pg_backend_pid() <> %(backend_pid)s::integer))
FROM unnest(%(names)s::text[], %(values)s::text[]) AS pinned(name, value)
GROUP BY 1, 2, 3, 4, 5
