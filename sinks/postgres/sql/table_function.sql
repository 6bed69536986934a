-- What fills a table: the schema of `events`, the function there, and its triggers on `events`.
SELECT n.nspname::text AS schema_name, quote_ident(n.nspname) AS schema, p.prosrc AS body,
       ARRAY(SELECT t.tgname::text FROM pg_trigger t
             WHERE t.tgrelid = e.oid AND t.tgfoid = p.oid AND t.tgenabled IN ('O', 'A')) AS triggers,
       ARRAY(SELECT DISTINCT f.proname::text FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
             WHERE t.tgrelid = e.oid AND NOT t.tgisinternal AND t.tgname = f.proname || '_inserted'
               AND starts_with(f.proname, 'map_')) AS former
FROM pg_class e JOIN pg_namespace n ON n.oid = e.relnamespace
LEFT JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = %(function)s AND p.pronargs = 0
WHERE e.oid = 'events'::regclass
