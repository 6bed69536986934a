-- The dead letter topic (audit_letters), the ledger of dead letters and the rows, held against each other. What was in the
-- outbox before the topic was read (audit_outbox) waits for its publication, or came too late to be read.
WITH unheard AS MATERIALIZED (  -- as a rule there are none: then the rows are not searched for them
    SELECT DISTINCT l.partition, l.place FROM audit_letters l JOIN audit_windows w USING (partition)
    WHERE NOT EXISTS (SELECT FROM dead_letters d
                      WHERE (d.topic, d.partition, d."offset") = (w.letters_topic, l.partition, l.place))
)
SELECT 'both' AS fault, e.source_partition, e.source_offset, e.event_id
FROM events e JOIN audit_letters l ON (l.partition, l.place) = (e.source_partition, e.source_offset)
WHERE e.source_topic = %(topic)s AND e.status = 'delivered'
UNION ALL
SELECT 'letter_lost', d.partition, d."offset", d.event_id
FROM dead_letters d JOIN audit_windows w USING (partition)
WHERE d.topic = w.letters_topic AND d."offset" >= w.first_offset AND d."offset" < w.next_offset
  AND d.state = ANY (%(unresolved)s)
  AND NOT EXISTS (SELECT FROM audit_letters l WHERE (l.partition, l.place) = (d.partition, d."offset"))
  AND NOT EXISTS (SELECT FROM audit_outbox o WHERE (o.partition, o.place) = (d.partition, d."offset"))
UNION ALL
SELECT 'uncounted', u.partition, u.place, NULL
FROM unheard u
WHERE NOT EXISTS (SELECT FROM events e
                  WHERE (e.source_topic, e.source_partition, e.source_offset) = (%(topic)s, u.partition, u.place)
                    AND e.status = 'delivered')
ORDER BY 2, 3
