-- Deletes confirmed dead letters from the outbox and notes their coordinates. Their topic is that of the id (topic~n): a
-- confirmation may come late, when the topic was re-created and another of its dead letters has the same offset.
-- Commits as the session does: what a crash takes back here is published again, under the same id.
WITH removed AS (
    DELETE FROM dead_letter_outbox o
    USING unnest(%(topics)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[], %(record_ids)s::text[])
        AS p(topic, partition, "offset", place)
    WHERE (o.topic, o.partition, o."offset") = (p.topic, p.partition, p."offset")
    RETURNING o.topic, o.partition, o."offset", p.place
)
UPDATE dead_letters d SET place = r.place
FROM removed r WHERE (d.topic, d.partition, d."offset") = (r.topic, r.partition, r."offset")
