-- Next offset and counters of each partition: written in one transaction, read in one snapshot.
SELECT s.partition, s.next_offset, s.updated_at, coalesce(c.delivered, 0), coalesce(c.duplicate, 0), coalesce(c.stale, 0),
       coalesce(c.ignored, 0), coalesce(c.failed, 0)
FROM stream_offsets s LEFT JOIN event_counters c USING (topic, partition)
WHERE s.topic = %(topic)s ORDER BY s.partition
