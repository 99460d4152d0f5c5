"""Where everything lives: one directory, its folders, and the daemon's socket.

Imported by every command, so it stays light: no settings, no network, nothing that takes time to load.
A directory given by name (`--home`, NIGHTSHOT_HOME) holds everything, the configuration too: a trial home
never picks up the configuration of the real one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scheduler.errors import SettingsError

CONFIG_NAME = "nightshot.toml"
SOCKET_NAME = "nightshot.sock"
#: `sun_path` of Linux holds 108 bytes with the closing zero.
LONGEST_SOCKET_PATH_BYTES = 107


@dataclass(frozen=True)
class Home:
    """The folders of one installation; nothing is created or looked up here."""

    root: Path
    #: A folder for the socket outside of the root (systemd's RuntimeDirectory), or None.
    runtime: Path | None = None
    #: Where a configuration may be, best first; the first file that exists is read and no other.
    config_candidates: tuple[Path, ...] = ()

    @classmethod
    def find(cls, explicit: str | None, environ: Mapping[str, str]) -> Home:
        """Locate the home: `--home`, NIGHTSHOT_HOME, systemd's directory variables, then XDG."""
        service_config = _first(environ.get("CONFIGURATION_DIRECTORY"))
        named = explicit if explicit is not None else environ.get("NIGHTSHOT_HOME") or None
        if named is not None:
            root = _absolute(named, environ)
            return cls(root, None, _candidates(root, service_config))
        runtime = _first(environ.get("RUNTIME_DIRECTORY"))
        state = _first(environ.get("STATE_DIRECTORY"))
        if state is not None:
            return cls(state, runtime, _candidates(state, service_config))
        data_home = environ.get("XDG_DATA_HOME") or "~/.local/share"
        config_home = environ.get("XDG_CONFIG_HOME") or "~/.config"
        root = _absolute(data_home, environ) / "nightshot"
        user_config = _absolute(config_home, environ) / "nightshot"
        return cls(root, runtime, _candidates(root, service_config, user_config))

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def queue(self) -> Path:
        return self.root / "queue"

    @property
    def rejected(self) -> Path:
        return self.root / "rejected"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def claimed(self) -> Path:
        return self.state / "claimed"

    @property
    def replies(self) -> Path:
        return self.state / "replies"

    @property
    def journal(self) -> Path:
        """The intent journal: not under `state`, so that a restored copy of that folder shows."""
        return self.root / "journal"

    @property
    def database(self) -> Path:
        return self.state / "nightshot.db"

    @property
    def socket(self) -> Path:
        return (self.runtime or self.state) / SOCKET_NAME

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def folders(self) -> tuple[tuple[Path, int], ...]:
        """Every folder and the mode it is created with; that of an existing one is its owner's business."""
        return (
            (self.root, 0o755),
            (self.inbox, 0o755),
            (self.queue, 0o755),
            (self.rejected, 0o755),
            (self.results, 0o755),
            (self.reports, 0o755),
            (self.state, 0o700),
            (self.claimed, 0o700),
            (self.replies, 0o700),
            (self.journal, 0o700),
        )


def make_folders(home: Home) -> None:
    """Create what is missing. Raises SettingsError naming the folder and the way out."""
    for folder, mode in home.folders:
        _make_folder(folder, mode)
    if os.stat(home.inbox).st_dev != os.stat(home.claimed).st_dev:
        raise SettingsError(
            f"{home.inbox} is on another file system than {home.claimed}: no file could be claimed",
            "Mount the whole home directory, not the inbox alone.",
        )
    _point_to_socket(home)


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield an address that fits into `sun_path`, valid inside the block, for bind and for connect alike.

    A home deep in a file tree exceeds the 107 bytes; then the way leads over a descriptor of its folder.
    """
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _make_folder(folder: Path, mode: int) -> None:
    try:
        # Parents above the root get the usual mode; only our own folders have a say.
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(folder):
            folder.mkdir(mode=mode)
    except OSError as error:
        raise SettingsError(
            f"{folder}: cannot be created: {error.strerror}",
            "Create it for this user, or choose another place with --home DIR or NIGHTSHOT_HOME.",
        ) from None
    if not folder.is_dir():
        raise SettingsError(f"{folder} is in the way: it is not a folder", "Move it aside and try again.")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise SettingsError(
            f"{folder}: this user (uid {os.getuid()}) may not write there",
            f"Give it to this user: sudo chown {os.getuid()} '{folder}'",
        )


def _point_to_socket(home: Home) -> None:
    """Leave a link under `state` when the socket is elsewhere, so that `--home DIR` finds a service."""
    pointer = home.state / SOCKET_NAME
    if pointer.is_symlink():
        pointer.unlink()
    if home.socket != pointer:
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(home.socket)


def _candidates(*folders: Path | None) -> tuple[Path, ...]:
    return tuple(folder / CONFIG_NAME for folder in folders if folder is not None)


def _first(variable: str | None) -> Path | None:
    """systemd joins several directories by colons; the first is ours."""
    return Path(variable.split(":")[0]) if variable else None


def _absolute(text: str, environ: Mapping[str, str]) -> Path:
    if not text.strip():
        raise SettingsError("the home directory has an empty name", "Give it as --home DIR.")
    if text == "~" or text.startswith("~/"):
        text = (environ.get("HOME") or os.path.expanduser("~")) + text[1:]
    return Path(os.path.abspath(text))
