-- What earlier passes left of these letters, now seen by this pass as well. What they produced stays produced.
UPDATE replay_letters SET seen_in_pass = %(pass)s, updated_at = now()
WHERE replay_id = %(replay_id)s AND letter_id = ANY (%(letters)s)
RETURNING letter_id, state
