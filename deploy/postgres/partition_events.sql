-- Replaces the empty table events by one that is partitioned by hash of event_id: after `keepstream db migrate`, before the
-- first event, and before roles get their rights. As the tables' owner, with the schema in the search path:
--   psql "$URL" -v ON_ERROR_STOP=1 -f deploy/postgres/partition_events.sql
-- Take 16 for a power of two: PostgreSQL can split a partition of such a modulus into two later.
BEGIN;
LOCK TABLE events;
DO $$
BEGIN
    IF EXISTS (SELECT FROM events) THEN
        RAISE EXCEPTION 'events has rows: this script would drop them, so it changed nothing';
    END IF;
    CREATE TABLE events_partitioned (LIKE events INCLUDING ALL) PARTITION BY HASH (event_id);
    DROP TABLE events;
    ALTER TABLE events_partitioned RENAME TO events;
    FOR remainder IN 0..15 LOOP
        EXECUTE format('CREATE TABLE events_%s PARTITION OF events FOR VALUES WITH (MODULUS 16, REMAINDER %s)',
                       remainder, remainder);
    END LOOP;
END
$$;
COMMIT;
