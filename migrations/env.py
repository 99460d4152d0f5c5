"""Alembic's entry: the connection comes from `scheduler.store.migrate`, never from an ini file."""

from alembic import context

from scheduler.store.schema import metadata


def run() -> None:
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


run()
