-- Where a letter lies in the dead letter topic: the broker has confirmed it before its row is written. NULL where that is
-- not known: the row is from before this column, or the broker's answer was lost.
ALTER TABLE dead_letters ADD COLUMN place text;
COMMENT ON COLUMN dead_letters.place IS 'in the dead letter topic: topic-partition-offset';
