-- Step path, metrics: the pending row becomes delivered; counters and offset move with it.
WITH fence AS (
    UPDATE stream_offsets
    SET next_offset = %(end)s, updated_at = now(), consumed = consumed + %(records)s,
        skipped = skipped + %(end)s - %(begin)s - %(records)s
    WHERE topic = %(topic)s AND partition = %(partition)s AND next_offset = %(begin)s
    RETURNING 1
), moved AS (
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
