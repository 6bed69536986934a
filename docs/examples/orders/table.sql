CREATE TABLE orders (
    event_id   text PRIMARY KEY,
    order_no   bigint NOT NULL,
    amount     numeric NOT NULL CHECK (amount > 0),
    shop       text,
    created_at timestamptz NOT NULL  -- the event's timestamp; placed_at of the payload is a number
);
