-- What a role may not do that filling a table takes; nothing where there is no such role. The name of a sequence is that of
-- a serial column that the table numbers itself.
SELECT p.privilege, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS place
FROM pg_roles r, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
     unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY p(privilege, number)
WHERE r.rolname = coalesce(%(role)s::text, current_user) AND c.oid = %(table)s::oid
  AND NOT CASE p.privilege WHEN 'DELETE' THEN has_table_privilege(r.oid, c.oid, p.privilege)
                           ELSE has_any_column_privilege(r.oid, c.oid, p.privilege) END
UNION ALL
SELECT 'USAGE', 'SEQUENCE ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_roles r, pg_depend s JOIN pg_class c ON c.oid = s.objid AND c.relkind = 'S' JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.rolname = coalesce(%(role)s::text, current_user) AND s.classid = 'pg_class'::regclass
  AND s.refclassid = 'pg_class'::regclass AND s.refobjid = %(table)s::oid AND s.deptype = 'a'
  AND NOT has_sequence_privilege(r.oid, c.oid, 'USAGE')
UNION ALL
SELECT 'USAGE', 'SCHEMA ' || quote_ident(n.nspname)
FROM pg_roles r, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.rolname = coalesce(%(role)s::text, current_user) AND c.oid = %(table)s::oid
  AND NOT has_schema_privilege(r.oid, n.oid, 'USAGE')
