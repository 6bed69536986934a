-- For lists of dead letters: what is rare is found among millions. The kinds are few, so their distinct values cost one
-- step in the index each: see sql/letters_by_kind.sql.
CREATE INDEX dead_letters_kind ON dead_letters (reason, step, verdict, (coalesce(sqlstate, '')), state, last_failed_at);
