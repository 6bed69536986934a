-- The table that the settings name. It is read from the catalogue, because to_regclass needs rights on the schema.
SELECT c.oid::bigint AS id, n.nspname::text AS schema, c.relname::text AS name,
       quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS place, c.relkind::text AS kind,
       c.relrowsecurity AS row_security,
       EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type IN ('2', '3')) AS rules
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = %(name)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND CASE WHEN %(schema)s::text IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = %(schema)s END
