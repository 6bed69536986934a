-- Step path, store: writes the row of a single record as pending; count.sql delivers it in the same transaction.
-- `seen` distinguishes a row that another session wrote meanwhile from one that a trigger suppressed: see store_unseen.sql.
WITH fence AS (
    SELECT 1 FROM stream_offsets
    WHERE topic = %(topic)s AND partition = %(partition)s AND next_offset = %(begin)s
      AND incarnation = %(incarnation)s AND topic_id IS NOT DISTINCT FROM %(topic_id)s::text
      AND EXISTS (SELECT FROM event_counters WHERE topic = %(topic)s AND partition = %(partition)s)
    FOR UPDATE
), incoming AS ({incoming}),
inserted AS (
    INSERT INTO events (event_id, payload, metadata, status, created_at, correlation_id, retry_count,
                        source_topic, source_partition, source_offset)
    SELECT event_id, payload, metadata, 'pending', created_at, correlation_id, retry_count,
           %(topic)s, %(partition)s, source_offset
    FROM incoming
    ON CONFLICT (event_id) DO NOTHING
    RETURNING event_id
), known AS (
    SELECT k.*, e.xmin AS seen, {stale} AS is_stale, {newer} AS is_wanted
    FROM incoming k JOIN events e ON e.event_id = k.event_id
    WHERE NOT EXISTS (SELECT FROM inserted)
), replaced AS (
    UPDATE events e
    SET payload = k.payload, metadata = k.metadata, created_at = k.created_at, correlation_id = k.correlation_id,
        retry_count = k.retry_count, updated_at = now(),
        status = CASE e.status WHEN 'failed' THEN 'pending' ELSE e.status END,
        source_topic = %(topic)s, source_partition = %(partition)s, source_offset = k.source_offset
    FROM known k
    WHERE e.event_id = k.event_id AND k.is_wanted AND e.xmin = k.seen
    RETURNING e.status
)
SELECT (SELECT count(*) FROM fence) AS fenced_in,
       (SELECT count(*) FROM inserted) + (SELECT count(*) FROM replaced WHERE status = 'pending') AS pending,
       (SELECT count(*) FROM known WHERE is_stale) AS stale,
       (SELECT count(*) FROM replaced WHERE status = 'delivered') AS updated,
       (SELECT count(*) FROM inserted) + (SELECT count(*) FROM replaced)
           + (SELECT count(*) FROM known WHERE NOT is_wanted) AS accounted_for,
       (SELECT seen::text FROM known) AS seen
