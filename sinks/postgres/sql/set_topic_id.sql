-- Runs after the rewind, never before: a worker that dies in between finds the old id, and rewinds again.
-- The commit waits for the disk, as that of insert_partition.sql.
UPDATE stream_offsets SET topic_id = %(topic_id)s
WHERE topic = %(topic)s AND partition = %(partition)s AND topic_id IS DISTINCT FROM %(topic_id)s
RETURNING set_config('synchronous_commit', 'on', true)
