-- The ledger of dead letters, in the transaction that moves the offset. A pending row of a dead event has failed.
WITH dead AS (
    SELECT * FROM jsonb_to_recordset(%(letters)s::jsonb) AS x(
        topic text, partition integer, "offset" bigint, event_id text, correlation_id text, step text, verdict text,
        reason text, message text, sqlstate text, attempts integer, first_failed_at timestamptz,
        last_failed_at timestamptz, replay_count integer, place text)
), failed AS (
    UPDATE events e SET status = 'failed', updated_at = now()
    FROM dead d WHERE e.event_id = d.event_id AND e.status = 'pending'
)
INSERT INTO dead_letters (topic, partition, "offset", event_id, correlation_id, step, verdict, reason, message,
                          sqlstate, attempts, first_failed_at, last_failed_at, replay_count, place)
SELECT topic, partition, "offset", event_id, correlation_id, step, verdict, reason, message,
       sqlstate, attempts, first_failed_at, last_failed_at, replay_count, place
FROM dead
ON CONFLICT (topic, partition, "offset") DO NOTHING
