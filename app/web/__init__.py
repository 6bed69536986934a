"""The console, `keepstream web`: pages on top of the modules that the commands use. Needs the extra ``console``.

Pages are rendered on the server; handlers read data in threads, because readers and the replay engine block.
"""
