SELECT partition, topic_id FROM stream_offsets
WHERE topic = %(topic)s AND partition = ANY (%(partitions)s) AND topic_id IS NOT NULL
