-- The ranges of accounted offsets, as the first and last offset of each range without a hole. One sort: an index on the
-- source of an event would cost every insert. The client gets two rows per range at most.
WITH accounted AS (
    SELECT e.source_partition AS partition, e.source_offset AS "offset"
    FROM events e JOIN audit_windows w ON w.partition = e.source_partition
    WHERE e.source_topic = %(topic)s AND e.status = 'delivered'
      AND e.source_offset >= w.first_offset AND e.source_offset < w.next_offset
    UNION ALL
    SELECT l.partition, l."offset" FROM audit_dead_letters l
    UNION ALL
    SELECT d.partition, d."offset"
    FROM dead_letters d JOIN audit_windows w USING (partition)
    WHERE d.topic = w.id_topic AND d."offset" >= w.first_offset AND d."offset" < w.next_offset
), edges AS (
    SELECT partition, "offset",
           lag("offset", 1, -2::bigint) OVER neighbours < "offset" - 1 AS is_first,
           lead("offset", 1, 9223372036854775807) OVER neighbours > "offset" + 1 AS is_last
    FROM accounted
    WINDOW neighbours AS (PARTITION BY partition ORDER BY "offset")
)
SELECT partition, "offset", is_first, is_last FROM edges WHERE is_first OR is_last ORDER BY partition, "offset"
