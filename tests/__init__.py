"""The tests. `unit`: fakes only. `contract`: fake and real part in one suite. `acceptance`: the worker as a process.

`simulation` puts the core under seeded chance, `faults` makes real parts ill, `mutation` breaks the code on purpose.
Shared by all: `builders`, `fakes`, `real`. Nobody outside imports them.
"""
