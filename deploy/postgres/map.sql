-- Fills a custom table in the transaction that stores an event; columns match by name. The row of an event whose metadata
-- say "deleted": true is deleted: a tombstone, or a delete of Debezium. docs/own-events.md.
--     PGOPTIONS='-c search_path=keepstream' psql "$OWNER_URL" -f deploy/postgres/map.sql -c "SELECT map_events('orders')"
-- Run it again after each change of the table's columns. `DROP FUNCTION map_orders CASCADE` removes it.
CREATE OR REPLACE FUNCTION map_events(target regclass) RETURNS void LANGUAGE plpgsql AS $map$
DECLARE
    place text; short text; columns text; found text; changes text;
BEGIN
    SELECT format('%I.%I', nspname, relname), relname INTO place, short
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = target;
    -- Columns with a default, identity and generated columns are left to the table.
    SELECT string_agg(format('%I', attname), ', '), string_agg(format('mine.%I', attname), ', '),
           string_agg(format('%1$I = EXCLUDED.%1$I', attname), ', ')
    INTO columns, found, changes
    FROM pg_attribute WHERE attrelid = target AND attnum > 0 AND NOT attisdropped AND NOT atthasdef AND attidentity = '';
    -- Pending rows are mapped as well: a refusal has to occur while it can be traced to one record.
    -- Partition -1 is the worker's probe of whether PostgreSQL accepts rows.
    EXECUTE format($body$
        CREATE OR REPLACE FUNCTION %1$I() RETURNS trigger LANGUAGE plpgsql AS $trigger$
        BEGIN
            INSERT INTO %2$s (%3$s)
            SELECT %4$s FROM changed e CROSS JOIN LATERAL jsonb_populate_record(NULL::%2$s, e.payload || jsonb_build_object(
                'event_id', e.event_id, 'created_at', e.created_at, 'correlation_id', e.correlation_id)) mine
            WHERE e.source_partition >= 0 AND (e.metadata @> '{"deleted": true}') IS NOT TRUE ORDER BY e.event_id COLLATE "C"
            ON CONFLICT (event_id) DO UPDATE SET %5$s;
            -- Only then, for it needs the right to delete.
            IF EXISTS (SELECT FROM changed WHERE metadata @> '{"deleted": true}') THEN
                DELETE FROM %2$s t USING changed e WHERE t.event_id = e.event_id AND e.metadata @> '{"deleted": true}';
            END IF;
            RETURN NULL;
        END $trigger$ $body$, 'map_' || short, place, columns, found, changes);
    EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER INSERT ON events REFERENCING NEW TABLE AS changed '
                   'FOR EACH STATEMENT EXECUTE FUNCTION %I()', 'map_' || short || '_inserted', 'map_' || short);
    EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER UPDATE ON events REFERENCING NEW TABLE AS changed '
                   'FOR EACH STATEMENT EXECUTE FUNCTION %I()', 'map_' || short || '_updated', 'map_' || short);
END
$map$;
