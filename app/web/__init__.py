"""The console, `keepstream web`: pages upon what the commands use as well. aiohttp and jinja2 are imported here only.

Pages are made on the server; a handler collects what it shows in a thread, because readers and the replay engine block.
"""
