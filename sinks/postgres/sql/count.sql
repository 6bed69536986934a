-- Step path, metrics: delivers the pending row, and moves counters and offset with it.
WITH fence AS ({fence}), moved AS (
    UPDATE events SET status = 'delivered', updated_at = now()
    FROM fence
    WHERE event_id = %(event_id)s AND status = 'pending' AND %(delivered)s > 0
    RETURNING event_id
), counted AS (
    UPDATE event_counters c
    SET total = c.total + %(delivered)s + %(duplicate)s + %(stale)s,
        delivered = c.delivered + %(delivered)s,
        duplicate = c.duplicate + %(duplicate)s,
        stale = c.stale + %(stale)s,
        updated = c.updated + %(updated)s,
        last_processed_at = now()
    FROM fence
    WHERE c.topic = %(topic)s AND c.partition = %(partition)s
)
SELECT (SELECT count(*) FROM fence) AS fenced_in, (SELECT count(*) FROM moved) AS delivered
