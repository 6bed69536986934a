-- Which of some letters died before one, newest first.
SELECT topic, partition, "offset", last_failed_at, place
FROM unnest(%(topics)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[]) AS l(topic, partition, "offset")
JOIN dead_letters USING (topic, partition, "offset")
WHERE (%(resolved_too)s OR state = ANY (%(unresolved)s))
  AND (last_failed_at, topic, partition, "offset") < (%(died)s, %(topic)s, %(partition)s, %(offset)s)
ORDER BY last_failed_at DESC, topic DESC, partition DESC, "offset" DESC LIMIT %(limit)s
