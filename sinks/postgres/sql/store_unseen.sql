-- Returns the committed version of a row that was neither inserted nor replaced.
SELECT xmin::text FROM events WHERE event_id = %(event_id)s
