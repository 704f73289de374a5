"""A condition on many values that is one parameter, however many there are: its statement is made once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from sqlalchemy import ARRAY, ColumnElement, Dialect, Text, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine


def among(column: ColumnElement[Any], values: Iterable[Any]) -> ColumnElement[Any]:
    """Whether a column holds one of these values: numbers or texts, as the column does."""
    # An expression without a type of its own, as a key taken out of JSON, is text.
    of = Text() if isinstance(column.type, NullType) else column.type
    return _Among(column, bindparam(None, list(values), type_=_Many(of)))


class _Many(TypeDecorator[list[Any]]):
    """A list as JSON on SQLite, as an array on PostgreSQL."""

    impl = Text
    cache_ok = True

    def __init__(self, of: TypeEngine[Any]) -> None:
        super().__init__()
        self.of = of

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        of = self.of.dialect_impl(dialect)
        return dialect.type_descriptor(ARRAY(of) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: list[Any] | None, dialect: Dialect) -> Any:  # noqa: ANN401  as the driver takes it
        return value if dialect.name == "postgresql" else orjson.dumps(value).decode()


class _Among(FunctionElement[Any]):
    name = "among"
    inherit_cache = True
    type = NullType()


@compiles(_Among, "sqlite")
def _sqlite(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401  SQLAlchemy's
    column, values = (compiler.process(one, **kw) for one in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608  a column and a parameter


@compiles(_Among, "postgresql")
def _postgresql(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401  SQLAlchemy's
    column, values = (compiler.process(one, **kw) for one in element.clauses)
    return f"{column} = ANY ({values})"
