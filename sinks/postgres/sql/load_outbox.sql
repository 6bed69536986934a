SELECT letter FROM dead_letter_outbox
WHERE split_part(topic, '~', 1) = %(topic)s AND partition = %(partition)s ORDER BY topic, "offset"
