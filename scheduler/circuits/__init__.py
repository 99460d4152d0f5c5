"""What a circuit is, and the one place where foreign code runs: a worker process, never the daemon.

Two sides that share only lines of JSON:

    the daemon's side                       the worker's side (its own interpreter and environment)
    pool.py    starts, asks, restarts it    worker.py   imports Qiskit once, forks a child for every job
    answer.py  reads what comes back        child.py    locks itself down, then reads and simulates
                                            sandbox.py, syscalls.py          the layers
                                            qasm_reader.py, qiskit_reader.py text or code -> circuits
                                            simulate.py                      circuits -> counts and facts
    words.py   the words both sides use

The daemon imports `pool`, `answer` and `words` only; everything else needs Qiskit or is of no use to it.
"""
