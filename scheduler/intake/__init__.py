"""From files to jobs: what a user drops becomes a validated batch, or a sentence that says how to mend it.

The rule: nothing in a job file is ever executed, guessed at or silently ignored here. A document is either
understood completely or refused with the file, the line, the problem and the fix.

    document.py    bytes -> BatchSpec or SpecError; the one door into this package
    text.py        bytes -> text, or a sentence that names the encoding that was found
    headers.py     the `nightshot` block at the top of .qasm and .py files
    formats.py     JSON, JSONL, TOML and YAML -> plain values and the line of every key
    wire.py        the one strict model behind all of them, and its errors in words
    frameworks.py  which language a circuit is written in, by reading it
    schema.py      the JSON Schema published for editors
    spool.py       the directory protocol
"""
