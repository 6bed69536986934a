-- The columns of a table. A column of a domain has the type below it here, which NULL fits: PostgreSQL checks the domain
-- when the row is written, after the default.
WITH RECURSIVE base AS (
    SELECT a.attnum AS number, a.atttypid AS type, a.atttypmod AS modifier, a.attnotnull AS not_null,
           pg_get_expr(d.adbin, d.adrelid) AS expression
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = %(table)s::oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT b.number, t.typbasetype, t.typtypmod, b.not_null OR t.typnotnull,
           coalesce(b.expression, pg_get_expr(t.typdefaultbin, 'pg_type'::regclass), quote_literal(t.typdefault))
    FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
)
SELECT a.attname::text AS name, quote_ident(a.attname) AS quoted, format_type(b.type, b.modifier) AS type,
       t.typname::text AS type_name, t.typtype <> 'b' OR t.typnamespace = 'pg_catalog'::regnamespace AS type_is_own,
       b.expression AS default, b.not_null, a.attidentity <> '' AS is_identity, a.attgenerated <> '' AS is_generated,
       starts_with(b.expression, 'nextval(') IS TRUE AND EXISTS (
           SELECT FROM pg_depend s
           WHERE s.classid = 'pg_class'::regclass AND s.refclassid = 'pg_class'::regclass AND s.deptype = 'a'
             AND s.refobjid = a.attrelid AND s.refobjsubid = a.attnum) AS is_serial
FROM base b
JOIN pg_type t ON t.oid = b.type AND t.typtype <> 'd'
JOIN pg_attribute a ON a.attrelid = %(table)s::oid AND a.attnum = b.number
ORDER BY a.attnum
