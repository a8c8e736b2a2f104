"""The schema of a table: its columns and their types."""

from __future__ import annotations

from collections.abc import KeysView, Mapping

from data.errors import DataError, MissingError
from data.record.records import IMAGE_ENCODING, IMAGE_FEATURES, LABEL
from data.record.types import ColumnType, ImageUri, IntegerLabel, SplitKey, StringLabel


class Schema(dict[str, ColumnType]):
    """Column name to type, in the order of the columns.

    Args:
        schema_map: Column name to one of the types of `data.record.types`.

    Raises:
        DataError: Not a mapping, an unknown type, not exactly one SplitKey column, more than one
            ImageUri column, or a column named like a feature of the photo.

    Example:
        ```python
        import data

        schema = data.Schema(
            {"part": data.SplitKey, "path": data.ImageUri, "kind": data.StringLabel}
        )
        table = data.read_csv("photos.csv", schema)
        ```
    """

    def __init__(self, schema_map: Mapping[str, ColumnType]):
        if not isinstance(schema_map, Mapping):
            raise DataError(
                f"A schema maps column names to types. Received: {schema_map!r}",
                "Expected a dict such as data.IMAGE_CSV_SCHEMA, the default.",
            )
        super().__init__(schema_map)
        received = f"Received: {self.type_names()}"
        for column, kind in self.items():
            if not isinstance(kind, ColumnType):
                raise DataError(
                    f"Unknown type of column {column!r} in the schema: {kind!r}",
                    f"Allowed, from `data`: {', '.join(kind.name for kind in ColumnType)}.",
                )
        if len(self.columns(SplitKey)) != 1:
            raise MissingError("The schema needs exactly one SplitKey column", received)
        if len(self.columns(ImageUri)) > 1:
            raise DataError("The schema can have only one ImageUri column", received)
        if photo := self.image_uri_key:
            taken = {*IMAGE_FEATURES, IMAGE_ENCODING} & self.keys() - {photo}
            if taken:
                raise DataError(
                    f"Column {min(taken)!r} has the name of a feature of the photo", "Rename it."
                )

    @property
    def split_key(self) -> str:
        """The column of the split."""
        return self.columns(SplitKey)[0]

    @property
    def image_uri_key(self) -> str | None:
        """The column of the photos' paths or URIs; None without photos."""
        return next(iter(self.columns(ImageUri)), None)

    @property
    def label_key(self) -> str | None:
        """The label column to train on: `label` if present, else the last one."""
        columns = self.columns(StringLabel, IntegerLabel)
        return LABEL if LABEL in columns else next(reversed(columns), None)

    def columns(self, *kinds: ColumnType) -> list[str]:
        """The names of the columns of the given types, in order."""
        return [column for column, kind in self.items() if kind in kinds]

    @property
    def input_schema_map(self) -> Schema:
        """The mapping itself, under its name in TFRecorder."""
        return self

    def get_input_keys(self) -> KeysView[str]:
        """The names of all columns, in order."""
        return self.keys()

    def type_names(self) -> dict[str, str]:
        """Column name to the name of its type, as in the manifest."""
        return {name: getattr(kind, "name", repr(kind)) for name, kind in self.items()}


IMAGE_CSV_SCHEMA = Schema({"split": SplitKey, "image_uri": ImageUri, "label": StringLabel})
"""Columns of an Image CSV, as in TFRecorder."""
