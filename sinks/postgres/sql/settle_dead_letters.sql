-- A batch of dead letters and ignored records only: move the offset, count. A pending row of such an event, left by an
-- earlier version, becomes failed.
WITH fence AS ({fence}), counted AS (
    UPDATE event_counters c
    SET total = c.total + %(ignored)s + %(failed)s, ignored = c.ignored + %(ignored)s, failed = c.failed + %(failed)s,
        last_processed_at = now()
    FROM fence
    WHERE c.topic = %(topic)s AND c.partition = %(partition)s
), failed AS (
    UPDATE events e SET status = 'failed', updated_at = now()
    FROM fence, jsonb_populate_recordset(NULL::dead_letters, %(dead_letters)s::jsonb) d
    WHERE e.event_id = d.event_id AND e.status = 'pending'
) {insert_dead_letters}
SELECT count(*) AS fenced_in FROM fence
