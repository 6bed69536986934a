-- Dead letters that are larger than their topic takes. The topic holds a reference: the letter's id and this SHA-256.
CREATE TABLE dead_letter_originals (
    letter_id text COLLATE "C" NOT NULL,
    sha256    text COLLATE "C" NOT NULL,
    letter    bytea            NOT NULL,
    stored_at timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (letter_id, sha256)
);
ALTER TABLE dead_letter_originals ALTER COLUMN letter SET STORAGE EXTERNAL;
COMMENT ON COLUMN dead_letter_originals.sha256 IS 'of the value';
COMMENT ON COLUMN dead_letter_originals.letter IS 'a line of `keepstream dlq export`, compressed with zlib';
