from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from scheduler.errors import SettingsError
from scheduler.home import LONGEST_SOCKET_PATH_BYTES, Home, make_folders, socket_address

SERVICE = {
    "STATE_DIRECTORY": "/var/lib/nightshot:/var/lib/other",
    "RUNTIME_DIRECTORY": "/run/nightshot",
    "CONFIGURATION_DIRECTORY": "/etc/nightshot",
}


@pytest.mark.parametrize(
    ("explicit", "environ", "root"),
    [
        ("/a", {"NIGHTSHOT_HOME": "/b", **SERVICE}, "/a"),
        (None, {"NIGHTSHOT_HOME": "/b", **SERVICE}, "/b"),
        (None, {**SERVICE, "XDG_DATA_HOME": "/c"}, "/var/lib/nightshot"),
        (None, {"XDG_DATA_HOME": "/c", "HOME": "/h"}, "/c/nightshot"),
        (None, {"NIGHTSHOT_HOME": "", "HOME": "/h"}, "/h/.local/share/nightshot"),
        ("~/n", {"HOME": "/h"}, "/h/n"),
        ("/a/../b", {}, "/b"),
    ],
)
def test_the_home_is_the_first_that_is_named(
    explicit: str | None, environ: dict[str, str], root: str
) -> None:
    assert Home.find(explicit, environ).root == Path(root)


def test_a_relative_home_is_made_absolute() -> None:
    assert Home.find("here", {}).root == Path.cwd() / "here"


def test_an_empty_home_is_refused() -> None:
    with pytest.raises(SettingsError, match="empty name"):
        Home.find(" ", {})


def test_a_named_home_never_reads_the_users_configuration() -> None:
    home = Home.find("/a", {"XDG_CONFIG_HOME": "/xdg", "HOME": "/h"})
    assert home.config_candidates == (Path("/a/nightshot.toml"),)


def test_a_service_reads_its_own_configuration_directory() -> None:
    home = Home.find(None, SERVICE)
    assert home.config_candidates == (
        Path("/var/lib/nightshot/nightshot.toml"),
        Path("/etc/nightshot/nightshot.toml"),
    )
    assert home.socket == Path("/run/nightshot/nightshot.sock")


def test_a_users_configuration_is_looked_for_in_xdg() -> None:
    home = Home.find(None, {"HOME": "/h"})
    assert home.config_candidates[-1] == Path("/h/.config/nightshot/nightshot.toml")
    assert home.socket == Path("/h/.local/share/nightshot/state/nightshot.sock")


def test_folders_are_made_once_and_state_is_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    make_folders(home)
    make_folders(home)
    assert all(folder.is_dir() for folder, _ in home.folders)
    for private in (home.state, home.claimed, home.replies, home.journal):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_the_mode_of_an_existing_inbox_is_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.inbox.mkdir()
    home.inbox.chmod(0o2775)
    make_folders(home)
    assert stat.S_IMODE(home.inbox.stat().st_mode) == 0o2775


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.inbox.write_text("not a folder")
    with pytest.raises(SettingsError, match=r"inbox is in the way") as error:
        make_folders(home)
    assert error.value.hint


def test_a_home_that_cannot_be_created_is_named_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be created") as error:
        make_folders(Home(tmp_path / "file" / "home"))
    assert "--home" in error.value.hint


def test_a_socket_outside_of_the_home_leaves_a_link_inside(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    make_folders(Home(tmp_path / "home", runtime))
    pointer = tmp_path / "home" / "state" / "nightshot.sock"
    assert os.readlink(pointer) == str(runtime / "nightshot.sock")
    make_folders(Home(tmp_path / "home"))
    assert not os.path.lexists(pointer)


def test_a_socket_deep_in_the_tree_can_be_bound_and_reached(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["a-rather-long-folder-name"] * 6)
    folder.mkdir(parents=True)
    path = folder / "nightshot.sock"
    assert len(os.fsencode(path)) > LONGEST_SOCKET_PATH_BYTES
    open_before = set(os.listdir("/proc/self/fd"))
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        with socket_address(path) as address:
            server.bind(address)
        server.listen()
        with socket_address(path) as address:
            client.connect(address)
        assert path.is_socket()
    assert set(os.listdir("/proc/self/fd")) == open_before


def test_a_short_socket_path_is_used_as_it_is() -> None:
    with socket_address(Path("/run/n.sock")) as address:
        assert address == "/run/n.sock"
