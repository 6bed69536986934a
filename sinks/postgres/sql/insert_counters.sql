-- Restores deleted counters of a partition that was consumed: without them nothing can be settled.
INSERT INTO event_counters (topic, partition)
SELECT topic, partition FROM stream_offsets
WHERE topic = %(topic)s AND partition = ANY (%(partitions)s)
ON CONFLICT DO NOTHING
