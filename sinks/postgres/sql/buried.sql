-- The ledger of dead letters, in the statement that moves the offset. A pending row of a dead event has failed, unless
-- the statement itself has just delivered it: a row is written once per statement.
, dead AS (
    SELECT topic, partition, "offset", event_id, correlation_id, step, verdict, reason, message,
           sqlstate, attempts, first_failed_at, last_failed_at, replay_count, place
    FROM fence, jsonb_populate_recordset(NULL::dead_letters, %(letters)s::jsonb)
), failed AS (
    UPDATE events e SET status = 'failed', updated_at = now()
    FROM dead d
    WHERE e.event_id = d.event_id AND e.status = 'pending'
      AND NOT EXISTS (SELECT FROM {written} w WHERE w.event_id = e.event_id)
), buried AS (
    INSERT INTO dead_letters (topic, partition, "offset", event_id, correlation_id, step, verdict, reason, message,
                              sqlstate, attempts, first_failed_at, last_failed_at, replay_count, place)
    SELECT * FROM dead
    ON CONFLICT DO NOTHING
)
