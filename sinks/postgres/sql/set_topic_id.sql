-- Runs after the rewind, never before: a worker that dies in between finds the old id, and rewinds again.
-- A worker that was frozen may know the id of an earlier topic: it must not put it back.
-- The commit waits for the disk, as that of insert_partition.sql.
UPDATE stream_offsets SET topic_id = %(topic_id)s
WHERE topic = %(topic)s AND partition = %(partition)s AND topic_id IS NOT DISTINCT FROM %(known_id)s::text
RETURNING set_config('synchronous_commit', 'on', true)
