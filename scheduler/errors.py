"""Every deliberate exception, by whose move it is. Anything else that escapes is a bug of ours.

    NightshotError
    ├── the user's move
    │   ├── SpecError            a job file or a request is wrong: place, problem, fix      exit 65
    │   ├── UsageError           the command line asks for something impossible             exit 2
    │   ├── NotFound             no such job, batch, backend or file                        exit 3
    │   └── NotAllowed           this user may not do that                                  exit 4
    ├── the administrator's move
    │   ├── SettingsError        the configuration is wrong: file, key, problem             exit 78
    │   └── SchemaMismatch       the database is older or newer than this program           exit 78
    ├── a person's decision
    │   ├── RefusedByBudget      the money rules say no                                     exit 5
    │   └── NeedsPerson          nothing moves until somebody decides                       exit 6
    ├── nobody's: wait
    │   ├── Unreachable          daemon, database or provider cannot be reached             exit 69
    │   ├── TryAgain             busy, locked, disk full; the same call may work later      exit 75
    │   └── DeadlinePassed       waited as long as asked                                    exit 124
    └── ours
        └── ImpossibleArrow      a state was asked to move where no arrow leads             exit 1

A message says what failed and what was done; a hint says what to do next. Both are for people.
"""

from __future__ import annotations


class NightshotError(Exception):
    """A failure that was foreseen; `exit_code` is what the command ends with."""

    exit_code = 1
    code = "failed"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class SpecError(NightshotError):
    """A job description is wrong; `line` is 1-based and None when no line can be named."""

    exit_code = 65
    code = "bad-job-file"

    def __init__(self, problem: str, *, file: str = "", line: int | None = None, hint: str = "") -> None:
        place = (
            f"{file}:{line}: " if file and line else f"{file}: " if file else f"line {line}: " if line else ""
        )
        super().__init__(f"{place}{problem}", hint)
        self.problem = problem
        self.file = file
        self.line = line


class UsageError(NightshotError):
    exit_code = 2
    code = "usage"


class NotFound(NightshotError):
    exit_code = 3
    code = "not-found"


class NotAllowed(NightshotError):
    exit_code = 4
    code = "not-allowed"


class RefusedByBudget(NightshotError):
    exit_code = 5
    code = "refused-by-budget"


class NeedsPerson(NightshotError):
    exit_code = 6
    code = "needs-a-person"


class SettingsError(NightshotError):
    exit_code = 78
    code = "configuration"


class SchemaMismatch(NightshotError):
    exit_code = 78
    code = "schema"


class Unreachable(NightshotError):
    exit_code = 69
    code = "unreachable"


class TryAgain(NightshotError):
    exit_code = 75
    code = "try-again"


class DeadlinePassed(NightshotError):
    exit_code = 124
    code = "timeout"


class ImpossibleArrow(NightshotError):
    code = "impossible-arrow"
