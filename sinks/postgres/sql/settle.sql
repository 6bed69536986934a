-- Fast path: move the offset, write the rows as delivered, count. All or nothing.
--
-- Rows are inserted in the order of their ids, so that two writers never wait for each other in a circle. What is not
-- inserted is already there: `known`. A row that somebody else committed while this statement ran is neither inserted nor
-- known, or is known in a version (xmin) that is gone: then the division fails the statement, and a retry sees it.
WITH fence AS (
    UPDATE stream_offsets
    SET next_offset = %(next_offset)s, updated_at = now(), consumed = consumed + %(records)s,
        skipped = skipped + %(next_offset)s - %(expected_offset)s - %(records)s
    WHERE topic = %(topic)s AND partition = %(partition)s AND next_offset = %(expected_offset)s
    RETURNING 1
), incoming AS ({incoming}),
inserted AS (
    INSERT INTO events (event_id, payload, metadata, status, created_at, correlation_id, retry_count,
                        source_topic, source_partition, source_offset)
    SELECT event_id, payload, metadata, 'delivered', created_at, correlation_id, retry_count,
           %(topic)s, %(partition)s, source_offset
    FROM incoming ORDER BY event_id COLLATE "C"
    ON CONFLICT (event_id) DO NOTHING
    RETURNING event_id
), known AS (
    SELECT k.*, e.xmin AS seen, e.status AS old_status, k.created_at < e.created_at AS is_stale,
           {newer} OR (e.status <> 'delivered' AND {same_record}) AS is_wanted
    FROM incoming k JOIN events e ON e.event_id = k.event_id
    WHERE NOT EXISTS (SELECT FROM inserted n WHERE n.event_id = k.event_id)
), replaced AS (
    UPDATE events e
    SET payload = k.payload, metadata = k.metadata, created_at = k.created_at, correlation_id = k.correlation_id,
        retry_count = k.retry_count, status = 'delivered', updated_at = now(),
        source_topic = %(topic)s, source_partition = %(partition)s, source_offset = k.source_offset
    FROM known k
    WHERE e.event_id = k.event_id AND k.is_wanted AND e.xmin = k.seen
    RETURNING e.event_id, k.old_status
), tally AS (
    SELECT (SELECT count(*) FROM inserted) AS inserted,
           (SELECT count(*) FROM known) AS known,
           (SELECT count(*) FROM replaced WHERE old_status <> 'delivered') AS woken,
           (SELECT count(*) FROM replaced WHERE old_status = 'delivered') AS updated,
           (SELECT count(*) FROM known WHERE is_stale) AS stale,
           (SELECT count(*) FROM known WHERE is_wanted) AS wanted,
           (SELECT count(*) FROM incoming) AS incoming
), sums AS (
    SELECT inserted + woken AS delivered, known - woken - stale AS duplicate, stale, updated,
           1 / (CASE WHEN inserted + known = incoming AND woken + updated = wanted THEN 1 ELSE 0 END) AS all_seen
    FROM tally
), counted AS (
    UPDATE event_counters c
    SET total = c.total + s.delivered + s.duplicate + s.stale
                + %(folded_duplicate)s + %(folded_stale)s + %(dead_lettered)s,
        delivered = c.delivered + s.delivered,
        duplicate = c.duplicate + s.duplicate + %(folded_duplicate)s,
        stale = c.stale + s.stale + %(folded_stale)s,
        updated = c.updated + s.updated,
        failed = c.failed + %(dead_lettered)s,
        last_processed_at = now()
    FROM sums s, fence
    WHERE c.topic = %(topic)s AND c.partition = %(partition)s
    RETURNING 1
)
SELECT (SELECT count(*) FROM fence) AS fenced_in, s.delivered, s.duplicate, s.stale, s.updated,
       (SELECT count(*) FROM counted) AS counted, s.all_seen
FROM sums s
