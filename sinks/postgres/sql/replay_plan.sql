-- Marks the dead letters of earlier passes as seen by this pass. A record that they produced stays produced.
UPDATE replay_letters SET seen_in_pass = %(pass)s, updated_at = now()
WHERE replay_id = %(replay_id)s AND letter_id = ANY (%(dead_letter_ids)s)
RETURNING letter_id, state
