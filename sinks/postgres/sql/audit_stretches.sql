-- The offsets that are accounted for, as the first and the last one of each stretch without a hole: one sort, no index on
-- the source of an event (it would cost every insert), and as few rows to the client as there are stretches, times two.
WITH places AS (
    SELECT e.source_partition AS partition, e.source_offset AS place
    FROM events e JOIN audit_windows w ON w.partition = e.source_partition
    WHERE e.source_topic = %(topic)s AND e.status = 'delivered'
      AND e.source_offset >= w.first_offset AND e.source_offset < w.next_offset
    UNION ALL
    SELECT l.partition, l.place FROM audit_letters l
    UNION ALL
    SELECT d.partition, d."offset"
    FROM dead_letters d JOIN audit_windows w USING (partition)
    WHERE d.topic = w.letters_topic AND d."offset" >= w.first_offset AND d."offset" < w.next_offset
), edges AS (
    SELECT partition, place,
           lag(place, 1, -2::bigint) OVER neighbours < place - 1 AS is_first,
           lead(place, 1, 9223372036854775807) OVER neighbours > place + 1 AS is_last
    FROM places
    WINDOW neighbours AS (PARTITION BY partition ORDER BY place)
)
SELECT partition, place, is_first, is_last FROM edges WHERE is_first OR is_last ORDER BY partition, place
