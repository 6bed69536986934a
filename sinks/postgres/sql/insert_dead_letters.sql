-- The index of dead letters and the outbox, in the statement that moves the offset. The commit waits for the disk, whatever
-- the session says: a dead letter that is published must not be forgotten.
, indexed AS (
    INSERT INTO dead_letters (topic, partition, "offset", event_id, correlation_id, step, verdict, reason, message,
                              sqlstate, attempts, first_failed_at, last_failed_at, replay_count)
    SELECT topic, partition, "offset", event_id, correlation_id, step, verdict, reason, message,
           sqlstate, attempts, first_failed_at, last_failed_at, replay_count
    FROM fence, jsonb_populate_recordset(NULL::dead_letters, %(dead_letters)s::jsonb)
    ON CONFLICT DO NOTHING
), outbox AS (
    INSERT INTO dead_letter_outbox (topic, partition, "offset", letter)
    SELECT %(id_topic)s, %(partition)s, unnest(%(offsets)s::bigint[]), unnest(%(outbox)b::bytea[]) FROM fence
    RETURNING set_config('synchronous_commit', 'on', true)
)
