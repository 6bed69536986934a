-- The fence: moves the offset only from the start of this batch, and only where the partition has counters. A topic
-- that was re-created has the same offsets again: its incarnation tells a late transaction of the one before, and its id
-- does so where the database has lost the row, and counts incarnations from 0 again.
UPDATE stream_offsets
SET next_offset = %(end)s, updated_at = now(), consumed = consumed + %(records)s,
    skipped = skipped + %(end)s - %(begin)s - %(records)s
WHERE topic = %(topic)s AND partition = %(partition)s AND next_offset = %(begin)s
  AND incarnation = %(incarnation)s AND topic_id IS NOT DISTINCT FROM %(topic_id)s::text
  AND EXISTS (SELECT FROM event_counters WHERE topic = %(topic)s AND partition = %(partition)s)
RETURNING 1
