-- Takes no lock: uncommitted offsets are not seen. An offset ends at a dead letter in the outbox: a crash may have taken
-- back the note that it was published.
SELECT partition, incarnation, least(next_offset, (SELECT min("offset") FROM dead_letter_outbox o
                                      WHERE (split_part(o.topic, '~', 1), o.partition) = (s.topic, s.partition)))
FROM stream_offsets s WHERE topic = %(topic)s
