"""Where it is decided what becomes of a record: lanes, pipeline, the steps, retry, replay.

Only `app` may enter. Nothing here imports a client library: the outside is reached through `ports`.
"""
