-- Sets what a session would otherwise inherit from PG* variables, the URL, the role or the database.
SELECT current_setting('server_encoding'), current_database(), count(set_config(name, value, false))
FROM unnest(%(names)s::text[], %(values)s::text[]) AS pinned(name, value)
GROUP BY 1, 2
