-- A replay can be resumed: what it selected from, how far the targets were, and what became of each letter.
ALTER TABLE replays
    ADD COLUMN options      jsonb  NOT NULL DEFAULT '{}',
    ADD COLUMN dlq_ends     jsonb  NOT NULL DEFAULT '{}',
    ADD COLUMN planned      text[] NOT NULL DEFAULT '{}',
    ADD COLUMN target_ends  jsonb  NOT NULL DEFAULT '{}',
    ADD COLUMN passes       integer NOT NULL DEFAULT 1;
COMMENT ON COLUMN replays.dlq_ends IS 'partition -> end of the dead letter topic when the replay began';
COMMENT ON COLUMN replays.planned IS 'the letters of which it is not known yet whether they went out';
COMMENT ON COLUMN replays.target_ends IS 'topic -> partition -> end when the letters now planned were planned';
COMMENT ON COLUMN replays.passes IS 'how often it was begun: once, and once more for each resume';

CREATE TABLE replay_letters (
    replay_id        bigint      NOT NULL REFERENCES replays (id) ON DELETE CASCADE,
    letter_id        text        NOT NULL,
    state            text        NOT NULL
        CHECK (state IN ('planned', 'produced', 'parked', 'failed', 'settled', 'dead_again')),
    seen_in_pass     integer     NOT NULL,
    edited_value     bytea,
    target_topic     text,
    target_partition integer,
    target_offset    bigint,
    error            text,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (letter_id, replay_id)
);
CREATE INDEX replay_letters_edited ON replay_letters (replay_id) WHERE state = 'planned';
CREATE INDEX replay_letters_waiting ON replay_letters (target_topic, target_partition) WHERE state = 'produced';
