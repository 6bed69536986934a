-- The ledger of dead letters, in the statement that moves the offset.
, buried AS (
    INSERT INTO dead_letters (topic, partition, "offset", event_id, correlation_id, step, verdict, reason, message,
                              sqlstate, attempts, first_failed_at, last_failed_at, replay_count, place)
    SELECT topic, partition, "offset", event_id, correlation_id, step, verdict, reason, message,
           sqlstate, attempts, first_failed_at, last_failed_at, replay_count, place
    FROM fence, jsonb_populate_recordset(NULL::dead_letters, %(letters)s::jsonb)
    ON CONFLICT DO NOTHING
)
