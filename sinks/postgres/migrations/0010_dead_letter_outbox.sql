-- Dead letters that are decided and not yet confirmed by the broker: a row is written with the offset that passes the
-- record, and deleted once the broker has confirmed its dead letter. The key is that of dead_letters.
CREATE TABLE dead_letter_outbox (
    topic     text        NOT NULL,
    partition integer     NOT NULL,
    "offset"  bigint      NOT NULL,
    letter    bytea       NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, "offset")
);
-- A worker asks for the topic by its name, whatever its incarnation.
CREATE INDEX dead_letter_outbox_partition ON dead_letter_outbox (split_part(topic, '~', 1), partition, "offset");
COMMENT ON COLUMN dead_letter_outbox.letter IS 'what is published: JSON, with bytes as Latin-1 text';
COMMENT ON COLUMN dead_letters.place IS
    'in the dead letter topic: topic-partition-offset; null while the dead letter is in dead_letter_outbox';
