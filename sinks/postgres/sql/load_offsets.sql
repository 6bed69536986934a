-- Locks the rows: a transaction of the former owner that is still in progress ends first, so the offset is its last.
SELECT partition, next_offset, first_offset, incarnation, topic_id FROM stream_offsets
WHERE topic = %(topic)s AND partition = ANY (%(partitions)s)
ORDER BY partition FOR UPDATE
