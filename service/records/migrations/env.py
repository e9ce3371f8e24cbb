"""What Alembic executes to run migrations; the connection and its transaction belong to `migrations.upgrade`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
