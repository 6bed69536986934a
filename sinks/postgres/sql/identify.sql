-- After the rewind, never before: who dies in between finds the old id again, and rewinds again.
UPDATE stream_offsets SET topic_id = %(topic_id)s
WHERE topic = %(topic)s AND partition = %(partition)s AND topic_id IS DISTINCT FROM %(topic_id)s
