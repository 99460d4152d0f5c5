"""One file = one arrow = one coroutine: gather, ask a pure function, apply its answer in one transaction.

`step()` does what there is to do now and returns how much that was; it never waits for work to come.
"""
