-- Step path, metrics: pending becomes delivered, counters and offset move with it. Counted is what really changed, so
-- a row that somebody else delivered meanwhile counts here as a duplicate. A server that was started since the rows were
-- stored may not have them.
WITH fence AS (
    UPDATE stream_offsets
    SET next_offset = %(next_offset)s, updated_at = now(), consumed = consumed + %(records)s,
        skipped = skipped + %(next_offset)s - %(expected_offset)s - %(records)s
    WHERE topic = %(topic)s AND partition = %(partition)s AND next_offset = %(expected_offset)s
      AND EXISTS (SELECT FROM event_counters WHERE topic = %(topic)s AND partition = %(partition)s)
      AND (%(server_run)s::timestamptz IS NULL OR %(server_run)s = pg_postmaster_start_time())
    RETURNING 1
), moved AS (
    UPDATE events SET status = 'delivered', updated_at = now()
    FROM fence
    WHERE event_id = ANY (%(pending_ids)s) AND status <> 'delivered'
    RETURNING event_id
), sums AS (
    SELECT (SELECT count(*) FROM moved) AS delivered,
           %(duplicate)s + cardinality(%(pending_ids)s::text[]) - (SELECT count(*) FROM moved) AS duplicate
), counted AS (
    UPDATE event_counters c
    SET total = c.total + s.delivered + s.duplicate + %(stale)s + %(dead)s,
        delivered = c.delivered + s.delivered,
        duplicate = c.duplicate + s.duplicate,
        stale = c.stale + %(stale)s,
        updated = c.updated + %(updated)s,
        failed = c.failed + %(dead)s,
        last_processed_at = now()
    FROM sums s, fence
    WHERE c.topic = %(topic)s AND c.partition = %(partition)s
) {buried}
SELECT (SELECT count(*) FROM fence) AS fenced_in, delivered, duplicate FROM sums
