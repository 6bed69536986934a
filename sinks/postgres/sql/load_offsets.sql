-- Waits for a transaction of the former owner that is still on its way, so that the offset read here is the last one.
SELECT partition, next_offset, first_offset, incarnation FROM stream_offsets
WHERE topic = %(topic)s AND partition = ANY (%(partitions)s)
ORDER BY partition FOR UPDATE
