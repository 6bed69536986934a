"""The decisions about records: partition queues, pipeline, the steps, retry, replay.

Only `app` may enter. Nothing here imports a client library: the outside is reached through `ports`.
"""
