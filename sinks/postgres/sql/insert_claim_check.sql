-- The same record has the same key, however often it is dead-lettered or read again.
INSERT INTO dead_letter_originals (letter_id, sha256, letter) VALUES (%(letter_id)s, %(sha256)s, %(packed)s)
ON CONFLICT DO NOTHING
