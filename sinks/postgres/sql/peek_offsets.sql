-- Waits for nobody: what is on its way counts as not there yet.
SELECT partition, next_offset FROM stream_offsets WHERE topic = %(topic)s
