-- Offset, counters and row counts of each partition, in one snapshot: offset and counters move in one transaction. Rows of
-- the step path are pending, and beyond the offset, until they are counted.
WITH stored AS (
    SELECT e.source_topic AS topic, e.source_partition AS partition,
           count(*) FILTER (WHERE e.status = 'delivered') AS rows,
           count(*) FILTER (WHERE e.status = 'pending' AND e.source_offset < s.next_offset) AS behind,
           count(*) FILTER (WHERE e.status = 'delivered' AND e.source_offset >= coalesce(s.next_offset, 0)) AS ahead
    FROM events e
    LEFT JOIN stream_offsets s ON (s.topic, s.partition) = (e.source_topic, e.source_partition)
    GROUP BY e.source_topic, e.source_partition
), dead AS (
    SELECT split_part(d.topic, '~', 1) AS topic, d.partition, count(*) AS dead_letters,
           count(*) FILTER (WHERE d."offset" >= coalesce(s.next_offset, 0)) AS ahead
    FROM dead_letters d
    LEFT JOIN stream_offsets s ON (s.topic, s.partition) = (split_part(d.topic, '~', 1), d.partition)
    GROUP BY 1, 2
), partitions AS (
    SELECT topic, partition FROM stream_offsets
    UNION SELECT topic, partition FROM event_counters
    UNION SELECT topic, partition FROM stored
    UNION SELECT topic, partition FROM dead
    UNION SELECT topic, partition FROM pruned_events
)
SELECT topic, partition, coalesce(s.first_offset, 0), coalesce(s.next_offset, 0), coalesce(s.consumed, 0),
       coalesce(s.skipped, 0), s.rewound_at IS NOT NULL, coalesce(c.total, 0), coalesce(c.delivered, 0),
       coalesce(c.duplicate, 0), coalesce(c.stale, 0), coalesce(c.ignored, 0), coalesce(c.failed, 0), coalesce(d.dead_letters, 0),
       coalesce(r.rows, 0), coalesce(r.behind, 0), coalesce(r.ahead, 0) + coalesce(d.ahead, 0),
       coalesce(p.rows, 0), coalesce(s.incarnation, 0)
FROM partitions
LEFT JOIN stream_offsets s USING (topic, partition)
LEFT JOIN event_counters c USING (topic, partition)
LEFT JOIN stored r USING (topic, partition)
LEFT JOIN dead d USING (topic, partition)
LEFT JOIN pruned_events p USING (topic, partition)
ORDER BY topic, partition
