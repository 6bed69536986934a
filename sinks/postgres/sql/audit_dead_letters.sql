-- Compares the dead letter topic (audit_dead_letters), the index of dead letters and the rows. What was in the outbox before
-- the topic was read (audit_outbox) is not published yet, or came too late to be read.
WITH unindexed AS MATERIALIZED (  -- usually none: then no row is searched
    SELECT DISTINCT l.partition, l."offset" FROM audit_dead_letters l JOIN audit_windows w USING (partition)
    WHERE NOT EXISTS (SELECT FROM dead_letters d
                      WHERE (d.topic, d.partition, d."offset") = (w.id_topic, l.partition, l."offset"))
)
SELECT 'both' AS kind, e.source_partition, e.source_offset, e.event_id
FROM events e JOIN audit_dead_letters l ON (l.partition, l."offset") = (e.source_partition, e.source_offset)
WHERE e.source_topic = %(topic)s AND e.status = 'delivered'
UNION ALL
SELECT 'letter_lost', d.partition, d."offset", d.event_id
FROM dead_letters d JOIN audit_windows w USING (partition)
WHERE d.topic = w.id_topic AND d."offset" >= w.first_offset AND d."offset" < w.next_offset
  AND d.state = ANY (%(unresolved)s)
  AND NOT EXISTS (SELECT FROM audit_dead_letters l WHERE (l.partition, l."offset") = (d.partition, d."offset"))
  AND NOT EXISTS (SELECT FROM audit_outbox o WHERE (o.partition, o."offset") = (d.partition, d."offset"))
UNION ALL
SELECT 'uncounted', u.partition, u."offset", NULL
FROM unindexed u
WHERE NOT EXISTS (SELECT FROM events e
                  WHERE (e.source_topic, e.source_partition, e.source_offset) = (%(topic)s, u.partition, u."offset")
                    AND e.status = 'delivered')
ORDER BY 2, 3
