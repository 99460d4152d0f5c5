"""A statement compiled once does what SQLAlchemy's own execution of it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, event, func, insert, literal_column, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from scheduler.store.compiled import LONGEST_LIST, NO_VALUES, run
from scheduler.store.engine import is_weather, sqlite_engine
from scheduler.store.schema import metadata, pauses, sequences

ADD = insert(sequences)
SOME = select(sequences).where(sequences.c.name.in_(bindparam("names", expanding=True)))
FIXED = select(sequences.c.name).where(sequences.c.name.in_(["a", "c"])).order_by(sequences.c.name)
RAISE = (
    update(sequences)
    .where(sequences.c.name == bindparam("_name"), sequences.c.next == 1)
    .values(next=sequences.c.next + bindparam("_count"))
    .returning(sequences.c.next)
)
PAUSE = insert(pauses)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = sqlite_engine(str(tmp_path / "compiled.db"))
    with engine.connect() as connection:
        with connection.begin():
            metadata.create_all(connection)
        with connection.begin():
            connection.execute(ADD, [{"name": name, "next": 1} for name in "abcdefgh"])
            yield connection
    engine.dispose()


@pytest.mark.parametrize("count", [0, 1, 2, LONGEST_LIST, LONGEST_LIST + 1])
def test_a_list_finds_the_same_rows_whatever_its_length(connection: Connection, count: int) -> None:
    names = list("hgfedcba"[:count])
    expected = {tuple(row) for row in connection.execute(SOME, {"names": names})}
    for _ in range(2):
        assert {tuple(row) for row in run(connection, SOME, {"names": names})} == expected
    assert len(expected) == count


def test_lists_and_values_within_the_statement_are_part_of_it(connection: Connection) -> None:
    assert list(run(connection, FIXED, NO_VALUES).scalars()) == ["a", "c"]


def test_rows_have_names_and_a_change_tells_how_many_it_changed(connection: Connection) -> None:
    row = run(connection, SOME, {"names": ["b"]}).first()
    assert (row.name, row.next) == ("b", 1)
    assert run(connection, RAISE, {"_name": "b", "_count": 4}).scalar_one() == 5
    assert run(connection, RAISE, {"_name": "b", "_count": 4}).first() is None, "the guard holds"
    assert run(connection, SOME, {"names": ["nobody"]}).scalar() is None
    with pytest.raises(ValueError, match="values to unpack"):
        run(connection, SOME, {"names": ["nobody"]}).scalar_one()
    counted = select(func.count(), literal_column("1")).select_from(sequences)
    assert tuple(run(connection, counted, NO_VALUES).first()) == (8, 1)


def test_many_rows_go_in_with_one_call(connection: Connection) -> None:
    assert run(connection, ADD, [{"name": f"n{n}", "next": n} for n in range(100)]).rowcount == 100
    assert connection.execute(select(func.count()).select_from(sequences)).scalar() == 108


def test_types_of_ours_change_values_on_their_way_in(connection: Connection) -> None:
    pause = {
        "backend": "x",
        "code": "rate",
        "sentence": "half \ud800 and nul \0",
        "since_us": 1,
        "failures": 1,
    }
    run(connection, PAUSE, pause)
    run(connection, PAUSE, [pause | {"backend": "y"}])
    told = connection.execute(select(pauses.c.sentence)).scalars().all()
    assert told == ["half \ufffd and nul \ufffd"] * 2


@pytest.mark.parametrize(
    "values", [{"name": "a", "next": 1}, [{"name": "z", "next": 1}, {"name": "a", "next": 1}]]
)
def test_an_error_is_sqlalchemys_and_no_weather(connection: Connection, values: Any) -> None:
    with pytest.raises(IntegrityError, match="UNIQUE constraint failed") as failed:
        run(connection, ADD, values)
    assert isinstance(failed.value, DBAPIError)
    assert not is_weather(failed.value)


def test_who_listens_hears_of_every_statement(connection: Connection) -> None:
    heard: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        heard.append(statement)

    event.listen(connection, "before_cursor_execute", note)
    run(connection, FIXED, NO_VALUES)
    event.remove(connection, "before_cursor_execute", note)
    run(connection, FIXED, NO_VALUES)
    assert len(heard) == 1
