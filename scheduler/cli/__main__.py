"""`python -m scheduler.cli` is the command, wherever its script is not on the path."""

from scheduler.cli import main

main()
