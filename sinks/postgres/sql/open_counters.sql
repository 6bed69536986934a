-- Counters that somebody deleted beside a partition that was consumed: without them nothing would be settled.
INSERT INTO event_counters (topic, partition)
SELECT topic, partition FROM stream_offsets
WHERE topic = %(topic)s AND partition = ANY (%(partitions)s)
ON CONFLICT DO NOTHING
