"""The store: a block, tables, migrations, locks, and how incidents are changed."""

from blocks.store.block import Store
from blocks.store.database import Database

__all__ = ["Database", "Store"]
