"""From files to jobs: what a user drops becomes a validated batch, or a sentence that says how to mend it.

The rule: nothing in a job file is ever executed, guessed at or silently ignored here. A document is either
understood completely or refused with the file, the line, the problem and the fix.

    document.py    bytes -> BatchSpec or SpecError; the one door into this package
    text.py        bytes -> text, or a sentence that names the encoding that was found
    headers.py     the `nightshot` block at the top of .qasm and .py files
    frameworks.py  which language a circuit is written in, by reading it
    manifest.py    a manifest taken apart: shared fields, jobs, lines (json_, toml_, yaml_text.py)
    jobs.py        the jobs of a manifest, with everything wrong about them
    wire.py        the one strict model behind all of them, and its errors in words
    spec.py        validated fields and a circuit -> JobSpec, and the defaults
    paths.py       file names: endings, what may be referred to, what jobs are called after them
    problems.py    problems collected, and values made fit for a sentence
    formats.py     where a value stands in a document
    schema.py      the JSON Schema published for editors
    spool.py       the directory protocol, step by step
    lookout.py     one pass over the inbox: what is complete, what waits, what is refused unopened
    claims.py      files taken by rename, and what a crash left of that
    taking.py      a claimed file -> a batch or a reason
    inbox.py       files and folders of strangers: listed, opened, read and moved without following a link
    notes.py       files that stay in the inbox, each told about once
    owners.py      whose files are taken, and what their users are called
    watch.py       hears about files the moment they come; only a hint
"""
