"""Parts of `keepstream.testing`. No worker imports them."""
