-- Step path, store: rows become visible as pending, nothing is counted and the offset stays.
-- A row's status is never set back here: that would count it twice later.
-- The commit waits for the disk, whatever the session says: a crash before the next step must not take back rows that
-- this step's client counts on. A standby that took over since tells itself apart by when it was started.
WITH fence AS (
    SELECT 1 FROM stream_offsets
    WHERE topic = %(topic)s AND partition = %(partition)s AND next_offset = %(expected_offset)s
    FOR SHARE
), incoming AS ({incoming}),
inserted AS (
    INSERT INTO events (event_id, payload, metadata, status, created_at, correlation_id, retry_count,
                        source_topic, source_partition, source_offset)
    SELECT event_id, payload, metadata, 'pending', created_at, correlation_id, retry_count,
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
        retry_count = k.retry_count, updated_at = now(),
        status = CASE e.status WHEN 'failed' THEN 'pending' ELSE e.status END,
        source_topic = %(topic)s, source_partition = %(partition)s, source_offset = k.source_offset
    FROM known k
    WHERE e.event_id = k.event_id AND k.is_wanted AND e.xmin = k.seen
    RETURNING e.event_id, e.status
), pending AS (
    SELECT event_id FROM inserted UNION ALL SELECT event_id FROM replaced WHERE status = 'pending'
), tally AS (
    SELECT (SELECT count(*) FROM fence) AS fenced_in,
           (SELECT array_agg(event_id) FROM pending) AS pending_ids,
           (SELECT count(*) FROM incoming) - (SELECT count(*) FROM pending)
               - (SELECT count(*) FROM known WHERE is_stale) AS duplicate,
           (SELECT count(*) FROM known WHERE is_stale) AS stale,
           (SELECT count(*) FROM replaced WHERE status = 'delivered') AS updated,
           pg_postmaster_start_time() AS server_run, set_config('synchronous_commit', 'on', true) AS waits_for_disk,
           1 / (CASE WHEN (SELECT count(*) FROM inserted) + (SELECT count(*) FROM known)
                          = (SELECT count(*) FROM incoming)
                      AND (SELECT count(*) FROM replaced) = (SELECT count(*) FROM known WHERE is_wanted)
                     THEN 1 ELSE 0 END) AS all_seen
)
SELECT * FROM tally
