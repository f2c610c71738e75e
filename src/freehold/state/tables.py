"""The tables, as the newest migration leaves them.

An object's JSON is kept as text, as it will be told; what is searched by stands in columns beside it. Every row has the owner
whose key stored it: nobody else's queries find it.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

responses = Table(
    "responses",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("owner", String(80), nullable=False),
    Column("created_at", BigInteger, nullable=False, index=True),
    Column("status", String(20), nullable=False),
    Column("previous_id", String(80)),  # the response that this one goes on from
    Column("body", Text, nullable=False),  # the response, all but its output
)

# What a response was given and what it answered, or what a conversation holds; `holder` is the id of either.
items = Table(
    "items",
    metadata,
    Column("holder", String(80), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("id", String(256), nullable=False),
    Column("owner", String(80), nullable=False),
    Column("answer", Boolean, nullable=False),  # part of a response's output, not of its input
    Column("body", Text, nullable=False),
    Index("items_by_id", "owner", "id"),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("owner", String(80), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False, index=True),
    Column("labels", Text, nullable=False),  # the metadata
)

completions = Table(
    "completions",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("owner", String(80), nullable=False),
    Column("created_at", BigInteger, nullable=False, index=True),
    Column("model", String(300), nullable=False),
    Column("body", Text, nullable=False),  # the completion, all but its metadata
    Column("messages", Text, nullable=False),
)

# The metadata of completions, which lists are filtered by.
labels = Table(
    "labels",
    metadata,
    Column("completion", String(80), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("value", String(512), nullable=False),
)
