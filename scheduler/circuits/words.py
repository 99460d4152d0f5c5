"""The words both sides of the worker's pipe use; standard library only, because both import them."""

from __future__ import annotations

#: What the local simulator reads, by the name of `source_framework`.
READABLE = ("openqasm3", "openqasm2", "qiskit")

#: The layers around a job, in the order in which they are put on; later ones forbid what earlier ones need.
LAYERS = ("rlimits", "hygiene", "namespaces", "capabilities", "landlock", "seccomp")

#: Without these no Python code is run. Seccomp alone keeps code off the daemon's own Unix socket (a network
#: namespace does not), and Landlock alone keeps it off the files of the user the daemon runs as.
NEEDED_FOR_CODE = ("landlock", "seccomp")

#: A child's whole answer, in bytes: counts of 100,000 different 24-bit results are below 4 MiB.
ANSWER_LIMIT_BYTES = 8 * 1024 * 1024


class CannotRun(ValueError):
    """The circuit can never run here as it is; the message is a sentence for its owner."""
