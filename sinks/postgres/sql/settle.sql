-- Fast path: move the offset, write the rows as delivered, count. All or nothing.
--
-- Rows arrive and are inserted in the order of their ids, so that two writers seldom wait for each other in a circle. What
-- is not inserted is already there: `known`, which is looked for only then. A row that somebody else committed while this
-- statement ran is neither inserted nor known, or is known in a version (xmin) that is gone: then a path that does not exist
-- and bears our name fails the statement, and a retry sees it. NOT MATERIALIZED: a copy of all rows would cost more than to read the array once more.
WITH fence AS ({fence}), incoming AS NOT MATERIALIZED ({incoming}),
inserted AS (
    INSERT INTO events (event_id, payload, metadata, status, created_at, correlation_id, retry_count,
                        source_topic, source_partition, source_offset)
    SELECT event_id, payload, metadata, 'delivered', created_at, correlation_id, retry_count,
           %(topic)s, %(partition)s, source_offset
    FROM incoming
    ON CONFLICT (event_id) DO NOTHING
    RETURNING event_id
), known AS (
    SELECT k.*, e.xmin AS seen, e.status AS was, {stale} AS is_stale, {newer} AS is_wanted
    FROM incoming k JOIN events e USING (event_id)
    WHERE (SELECT count(*) FROM inserted) < jsonb_array_length(%(events)s::jsonb)
      AND NOT EXISTS (SELECT FROM inserted n WHERE n.event_id = k.event_id)
), replaced AS (
    UPDATE events e
    SET payload = k.payload, metadata = k.metadata, created_at = k.created_at, correlation_id = k.correlation_id,
        retry_count = k.retry_count, status = 'delivered', updated_at = now(),
        source_topic = %(topic)s, source_partition = %(partition)s, source_offset = k.source_offset
    FROM known k
    WHERE e.event_id = k.event_id AND k.is_wanted AND e.xmin = k.seen
    RETURNING e.event_id, k.was
), tally AS (
    SELECT f.fenced, f.fenced * jsonb_array_length(%(events)s::jsonb) AS incoming, i.inserted, k.*, r.*
    FROM (SELECT count(*) AS fenced FROM fence) f,
         (SELECT count(*) AS inserted FROM inserted) i,
         (SELECT count(*) AS known, count(*) FILTER (WHERE is_stale) AS stale,
                 count(*) FILTER (WHERE is_wanted) AS wanted FROM known) k,
         (SELECT count(*) FILTER (WHERE was <> 'delivered') AS woken,
                 count(*) FILTER (WHERE was = 'delivered') AS updated FROM replaced) r
), sums AS (
    SELECT fenced, inserted + woken AS delivered, known - woken - stale AS duplicate, stale, updated,
           CASE WHEN inserted + known <> incoming OR woken + updated <> wanted
                THEN jsonb_path_query_first(jsonb_build_object('', incoming), 'strict $.keepstream_raced') END AS raced
    FROM tally
), counted AS (
    UPDATE event_counters c
    SET total = c.total + s.delivered + s.duplicate + s.stale
                + %(folded)s + %(older)s + %(dead)s,
        delivered = c.delivered + s.delivered,
        duplicate = c.duplicate + s.duplicate + %(folded)s,
        stale = c.stale + s.stale + %(older)s,
        updated = c.updated + s.updated,
        failed = c.failed + %(dead)s,
        last_processed_at = now()
    FROM sums s
    WHERE c.topic = %(topic)s AND c.partition = %(partition)s AND s.fenced = 1
) {buried}
SELECT fenced, delivered, duplicate, stale, updated, raced FROM sums
