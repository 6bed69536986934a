-- Waits for nobody: what is on its way counts as not there yet.
-- A dead letter in the outbox is not done: a crash may have taken back that it was published.
SELECT partition, least(next_offset, (SELECT min("offset") FROM dead_letter_outbox o
                                      WHERE (split_part(o.topic, '~', 1), o.partition) = (s.topic, s.partition)))
FROM stream_offsets s WHERE topic = %(topic)s
