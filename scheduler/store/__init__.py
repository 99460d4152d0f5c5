"""The one durable memory, and the only importer of SQLAlchemy (Core, never mapped classes)."""
