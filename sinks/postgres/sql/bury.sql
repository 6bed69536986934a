-- A range of dead letters only: move the offset, count. The row of such an event, if an earlier version has left one that
-- is pending, has failed.
WITH fence AS ({fence}), counted AS (
    UPDATE event_counters c
    SET total = c.total + %(dead)s, failed = c.failed + %(dead)s, last_processed_at = now()
    FROM fence
    WHERE c.topic = %(topic)s AND c.partition = %(partition)s
), failed AS (
    UPDATE events e SET status = 'failed', updated_at = now()
    FROM fence, jsonb_populate_recordset(NULL::dead_letters, %(letters)s::jsonb) d
    WHERE e.event_id = d.event_id AND e.status = 'pending'
) {buried}
SELECT count(*) AS fenced_in FROM fence
