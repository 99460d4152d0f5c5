"""Coda (Conductor Quantum): one POST per attempt, and an honest word about how it ended.

The billable call has no idempotency key, no list and no cancel, so a request that may have left this
machine is never sent again: whatever is not plainly accepted, refused or unsent is Unknown. Reads may be
repeated. The token is read at every use and appears in nothing that comes out of here.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from yarl import URL

from scheduler.core.job import OPENQASM
from scheduler.core.pricing import Estimate
from scheduler.core.task import (
    CannotTell,
    Device,
    Evidence,
    NotSent,
    Outcome,
    RunRequest,
    TaskReport,
    Unknown,
)
from scheduler.errors import NightshotError, Unreachable
from scheduler.ports import EstimateFailed, PollFailed, SendGate, Site
from scheduler.providers._coda_answers import device_of, estimate_of, outcome_of, report_of, said
from scheduler.providers._http import Limits, Lost, Reads, Trouble, Unsent, post_once
from scheduler.providers._replies import JsonObject, Reply, one_line, words_of

TOKEN_NAME = "coda-token"
#: The account that the vendor's own environment names belong to.
VENDOR_NAME = "coda"
_VISIBLE_ASCII = re.compile(r"^[\x21-\x7e]{8,4096}$")


class Paths(BaseModel):
    """Where the calls live below `base_url`; they have moved once already."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    health: str = "/health"
    qpus: str = "/qpus"
    estimate_cost: str = "/qpus/estimate-cost"
    status: str = "/qpus/status"

    @field_validator("*")
    @classmethod
    def _below_the_base(cls, path: str) -> str:
        if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+", path) or "/.." in path:
            raise ValueError("a path starts with / and has only plain segments, like /qpus/status")
        return path


class Settings(BaseModel):
    """What `[providers.<name>]` with `kind = "coda"` may say; times in seconds."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: Literal["coda"] = "coda"
    base_url: str = "https://api.conductorquantum.com/v0/coda"
    #: Allows http:// to another machine, which shows the token to everybody on the way.
    plain_http: bool = False
    paths: Paths = Paths()
    connect_timeout_s: float = Field(default=10.0, gt=0, le=3600, allow_inf_nan=False)
    #: From the first byte sent to the last byte of the answer; when it passes, money may have been spent.
    reply_timeout_s: float = Field(default=120.0, gt=0, le=3600, allow_inf_nan=False)
    #: All tries of one read together.
    read_timeout_s: float = Field(default=30.0, gt=0, le=3600, allow_inf_nan=False)
    reply_limit_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    #: Appends a comment with the attempt's id to the code, so that a person can recognise the job at Coda.
    mark_code: bool = False

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, text: str) -> str:
        url = URL(text)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("an address is needed, like https://api.conductorquantum.com/v0/coda")
        if url.user or url.password or url.query_string or url.fragment:
            raise ValueError("only scheme, host, port and path are allowed; a token never belongs here")
        return text.rstrip("/")

    @model_validator(mode="after")
    def _token_stays_private(self) -> Settings:
        url = URL(self.base_url)
        if url.scheme == "http" and not self.plain_http and not _is_loopback(url.host or ""):
            raise ValueError(
                "base_url would send the token unencrypted to another machine: use https://, "
                "or set plain_http = true if that network is yours"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def build(settings: Settings, site: Site) -> Coda:
    """Return the account that `settings` describe; nothing is connected yet."""
    return Coda(settings, site)


class Coda:
    """One Coda account."""

    paid = True

    def __init__(self, settings: Settings, site: Site) -> None:
        self._settings = settings
        self._site = site
        self._limits = Limits(
            settings.connect_timeout_s,
            settings.reply_timeout_s,
            settings.read_timeout_s,
            settings.reply_limit_bytes,
        )
        self._reads = Reads(self._limits, site.clock.now_us)
        self._closed = False

    async def health(self) -> str:
        """Return the word the service has for its state (`ok`). Raises Unreachable."""
        body = await self._listed(self._settings.paths.health)
        return one_line(str(body.get("status", "no word")), 100)

    async def devices(self) -> Sequence[Device]:
        """List the devices; one without an id goes by its name. Raises Unreachable."""
        body = await self._listed(self._settings.paths.qpus)
        listed = body.get("devices")
        if not isinstance(listed, list):
            raise Unreachable(f"{self._site.name}: the list of devices has no 'devices' in it")
        return [device for entry in listed if (device := device_of(entry)) is not None]

    async def estimate(self, request: RunRequest) -> Estimate:
        """Ask Coda for the price of `request`; source: Coda's own quote. Raises EstimateFailed."""
        secret = self._secret()
        if isinstance(secret, str):
            raise EstimateFailed(f"{self._site.name}: {secret}", needs_person=True)
        url = self._url(self._settings.paths.estimate_cost)
        heard = await self._reads.ask("POST", url, _document(_run_fields(request)), secret)
        if isinstance(heard, Trouble):
            raise EstimateFailed(f"no estimate: {heard.reason}")
        estimate = estimate_of(heard, self._site.name)
        if isinstance(estimate, EstimateFailed):
            raise estimate
        return estimate

    async def submit(self, request: RunRequest, send_gate: SendGate) -> Outcome:
        """Make the one billable call; never sends twice, never raises for what the network does.

        An id that another attempt already has is Accepted here: only the store knows all ids, and its
        unique index must turn that into a doubt.
        """
        if self._closed:
            return NotSent("this provider has been closed")
        secret = self._secret()
        if isinstance(secret, str):
            return NotSent(secret)
        fields = _run_fields(request) | {"accept_overage": request.accept_overage}
        if self._settings.mark_code:
            fields["code"] = marked_code(request)
        url = self._url(self._settings.paths.qpus)
        heard = await post_once(
            url, _document(fields), secret, send_gate, self._limits, self._site.clock.now_us
        )
        match heard:
            case Unsent(reason):
                return NotSent(reason)
            case Lost(reason, text):
                return Unknown(reason, text)
            case Reply():
                return outcome_of(heard)

    async def poll(self, provider_job_id: str, request: RunRequest) -> TaskReport:  # noqa: ARG002 - the port's
        """Read a task's status; repeatable. Raises PollFailed."""
        secret = self._secret()
        if isinstance(secret, str):
            raise PollFailed(f"{self._site.name}: {secret}")
        url = self._url(self._settings.paths.status)
        heard = await self._reads.ask("POST", url, _document({"job_id": provider_job_id}), secret)
        if isinstance(heard, Trouble):
            raise PollFailed(f"no status: {heard.reason}")
        report = report_of(heard, provider_job_id)
        if isinstance(report, str):
            raise PollFailed(f"no status: {report}", retry_after_s=heard.retry_after_s)
        return report

    async def find(self, attempt_id: str) -> Evidence:  # noqa: ARG002 - the port's
        """Answer CannotTell: Coda has neither a list nor a search."""
        return CannotTell("Coda has no list of jobs and no search: look at its web page, or ask its support")

    def tell_finished(self, listener: Callable[[str], None]) -> None:
        """Coda has no webhook: nothing is ever told, and tasks are polled."""

    async def forget(self, provider_job_id: str) -> None:
        """Nothing is kept here for a task."""

    async def close(self) -> None:
        self._closed = True
        await self._reads.close()

    def _url(self, path: str) -> URL:
        return URL(self._settings.base_url + path)

    def _secret(self) -> SecretStr | str:
        """The token as it is now, or the sentence that says what to do about it."""
        try:
            token = (self._site.secret(TOKEN_NAME) or "").strip()
        except NightshotError as error:
            return error.message
        if not token:
            return self._token_missing()
        if not _VISIBLE_ASCII.match(token):
            return f"the Coda token ({TOKEN_NAME}) is too short or has characters no token has: set it again"
        return SecretStr(token)

    def _token_missing(self) -> str:
        name = self._site.name
        ways = [
            f"write token_file into [providers.{name}]",
            f"give the service a credential named {name}-token",
        ]
        if name == VENDOR_NAME:
            ways.insert(0, "set CODA_API_TOKEN, or CODA_API_TOKEN_FILE to a file that holds it")
        return f"there is no Coda token: {', or '.join(ways)}"

    async def _listed(self, path: str) -> JsonObject:
        secret = self._secret()
        if isinstance(secret, str):
            raise Unreachable(f"{self._site.name}: {secret}")
        heard = await self._reads.ask("GET", self._url(path), None, secret)
        if isinstance(heard, Trouble):
            raise Unreachable(heard.reason)
        if heard.status != 200 or heard.body is None or heard.body.get("success", True) is not True:
            raise Unreachable(f"{self._site.name}: {said(heard, words_of(heard.body))}")
        return heard.body


# --------------------------------------------------------------------------------- what goes on the wire


def marked_code(request: RunRequest) -> str:
    """The code with a last line by which a person can recognise the attempt."""
    comment = "//" if request.framework in OPENQASM else "#"
    gap = "" if request.code.endswith("\n") else "\n"
    return f"{request.code}{gap}{comment} nightshot attempt {one_line(request.attempt_id, 100)}\n"


def _run_fields(request: RunRequest) -> dict[str, object]:
    fields: dict[str, object] = {
        "code": request.code,
        # Coda has one word for both versions; the text itself says which it is.
        "source_framework": "openqasm3" if request.framework in OPENQASM else request.framework,
        "backend": request.device,
        "shots": request.shots,
    }
    if request.execution_hint is not None:
        fields["braket_execution_mode_hint"] = request.execution_hint
    return fields


def _document(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode("ascii")
