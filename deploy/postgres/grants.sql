-- The roles' privileges on the tables. Run after each `keepstream db migrate`, as keepstream_owner, with the schema as search_path:
--     PGOPTIONS='-c search_path=keepstream' psql "$OWNER_URL" -f deploy/postgres/grants.sql
-- Only the owner may DELETE, TRUNCATE, ALTER, DROP or CREATE.
DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO keepstream_worker, keepstream_operator, keepstream_reader', current_schema());
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO keepstream_worker, keepstream_operator, keepstream_reader',
                   current_schema());
END
$$;
-- The worker: rows, offsets, counters, and the dead letter index.
GRANT INSERT, UPDATE ON events, stream_offsets, event_counters TO keepstream_worker;
GRANT INSERT ON dead_letters, dead_letter_originals, dead_letter_outbox TO keepstream_worker;
GRANT UPDATE (place) ON dead_letters TO keepstream_worker;
GRANT DELETE ON dead_letter_outbox TO keepstream_worker;
-- The operator: `keepstream dlq replay`, `purge`, `import` and the console. State and place of dead letters, never events or counters.
GRANT INSERT, UPDATE ON replays, replay_letters TO keepstream_operator;
GRANT UPDATE (state, place) ON dead_letters TO keepstream_operator;
