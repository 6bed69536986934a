-- Fast path: moves the offset, writes the rows as delivered, and counts, all or nothing.
--
-- Rows are inserted in the order of their ids, so that two writers seldom deadlock. A row that is not inserted exists
-- already: `known`, which is read only then. A row that another session committed while this statement ran is neither
-- inserted nor known, or is known in a version (xmin) that is gone: then a jsonb path that does not exist and bears our name
-- fails the statement, and a retry sees the row. NOT MATERIALIZED: reading the array again costs less than a copy of the rows.
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
    WHERE (SELECT count(*) FROM inserted) < %(incoming)s
      AND NOT EXISTS (SELECT FROM inserted n WHERE n.event_id = k.event_id)
), replaced AS (
    UPDATE events e
    SET payload = k.payload, metadata = k.metadata, created_at = k.created_at, correlation_id = k.correlation_id,
        retry_count = k.retry_count, status = 'delivered', updated_at = now(),
        source_topic = %(topic)s, source_partition = %(partition)s, source_offset = k.source_offset
    FROM known k
    WHERE e.event_id = k.event_id AND k.is_wanted AND e.xmin = k.seen
    RETURNING e.event_id, k.was
), counts AS (
    SELECT f.fenced, f.fenced * %(incoming)s AS incoming, i.inserted, k.*, r.*
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
    FROM counts
), counted AS (
    UPDATE event_counters c
    SET total = c.total + s.delivered + s.duplicate + s.stale
                + %(duplicates)s + %(stale)s + %(ignored)s + %(failed)s,
        delivered = c.delivered + s.delivered,
        duplicate = c.duplicate + s.duplicate + %(duplicates)s,
        stale = c.stale + s.stale + %(stale)s,
        updated = c.updated + s.updated,
        ignored = c.ignored + %(ignored)s,
        failed = c.failed + %(failed)s,
        last_processed_at = now()
    FROM sums s
    WHERE c.topic = %(topic)s AND c.partition = %(partition)s AND s.fenced = 1
) {insert_dead_letters}
SELECT fenced, delivered, duplicate, stale, updated, raced FROM sums
