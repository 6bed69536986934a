-- Letters that this pass has not seen yet, with their state; what an earlier pass produced stays produced.
-- A letter's death is the key of its ledger row; letters that others wrote have none.
WITH letters AS (
    SELECT * FROM jsonb_to_recordset(%(letters)s::jsonb)
        AS x(id text, dlq_topic text, dlq_partition integer, dlq_offset bigint,
             topic text, partition integer, "offset" bigint)
), planned AS (
    INSERT INTO replay_letters AS r (replay_id, letter_id, dlq_topic, dlq_partition, dlq_offset, state, seen_in_pass)
    SELECT %(replay_id)s, id, dlq_topic, dlq_partition, dlq_offset, 'planned', %(pass)s FROM letters
    ON CONFLICT (replay_id, letter_id) DO UPDATE SET seen_in_pass = excluded.seen_in_pass, updated_at = now()
        WHERE r.seen_in_pass <> excluded.seen_in_pass
    RETURNING letter_id, state
), marked AS (
    UPDATE dead_letters d SET state = 'planned'
    FROM letters l JOIN planned p ON p.letter_id = l.id
    WHERE p.state = 'planned' AND (d.topic, d.partition, d."offset") = (l.topic, l.partition, l."offset")
)
SELECT letter_id, state FROM planned
