-- The indexes of a table, the primary key first. A column that is an expression has no name.
SELECT i.relname::text AS name, x.indisunique AS is_unique, x.indisprimary AS is_primary,
       x.indisvalid AND x.indisready AS is_valid, NOT x.indimmediate AS is_deferrable, x.indpred IS NOT NULL AS is_partial,
       ARRAY(SELECT a.attname::text FROM unnest(x.indkey) WITH ORDINALITY k(number, place)
             LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.number AND k.number > 0
             WHERE k.place <= x.indnkeyatts ORDER BY k.place) AS columns
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
WHERE x.indrelid = %(table)s::oid
ORDER BY x.indisprimary DESC, i.relname
