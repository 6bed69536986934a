-- Deletes confirmed dead letters from the outbox and notes their coordinates. Commits as the session does: what a crash
-- takes back here is published again, under the same id.
WITH removed AS (
    DELETE FROM dead_letter_outbox o
    USING unnest(%(offsets)s::bigint[], %(record_ids)s::text[]) AS p("offset", place)
    WHERE split_part(o.topic, '~', 1) = %(topic)s AND o.partition = %(partition)s AND o."offset" = p."offset"
    RETURNING o.topic, o.partition, o."offset", p.place
)
UPDATE dead_letters d SET place = r.place
FROM removed r WHERE (d.topic, d.partition, d."offset") = (r.topic, r.partition, r."offset")
