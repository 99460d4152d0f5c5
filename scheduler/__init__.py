"""Nightshot: a batch job queue and budget-aware scheduler daemon for quantum circuits.

The house rule: a job walks through stages; each stage reads a snapshot, asks a pure function what to do,
and writes the answer in one transaction; the outside world is reached only through a few ports.
"""

__version__ = "0.1.0"
