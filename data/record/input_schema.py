"""The columns of a table and what each becomes in the record."""

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
        DataError: No mapping, a type that is none, not exactly one SplitKey column, more than one
            ImageUri column, or a column named as a feature that the photo brings.
    """

    def __init__(self, schema_map: Mapping[str, ColumnType]):
        if not isinstance(schema_map, Mapping):
            raise DataError(
                f"A schema maps column names to types. Received: {schema_map!r}",
                "Such as data.IMAGE_CSV_SCHEMA, the default.",
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
            raise DataError("The schema can have one ImageUri column", received)
        taken = {*IMAGE_FEATURES, IMAGE_ENCODING} & self.keys() if self.image_uri_key else ()
        if taken := [column for column in taken if column != self.image_uri_key]:
            raise DataError(
                f"The photo brings the feature {taken[0]!r} itself", "Rename that column."
            )

    @property
    def split_key(self) -> str:
        """The column that says which split a row belongs to."""
        return self.columns(SplitKey)[0]

    @property
    def image_uri_key(self) -> str | None:
        """The column with the photos' paths or URIs, if there are photos."""
        return next(iter(self.columns(ImageUri)), None)

    @property
    def label_key(self) -> str | None:
        """The label column that is trained on: the one called `label`, else the last one."""
        columns = self.columns(StringLabel, IntegerLabel)
        return LABEL if LABEL in columns else next(reversed(columns), None)

    def columns(self, *kinds: ColumnType) -> list[str]:
        """The names of the columns of the given types, in order."""
        return [column for column, kind in self.items() if kind in kinds]

    @property
    def input_schema_map(self) -> Schema:
        """The mapping itself, as TFRecorder names it."""
        return self

    def get_input_keys(self) -> KeysView[str]:
        """The names of all columns, in order."""
        return self.keys()

    def type_names(self) -> dict[str, str]:
        """Column name to its type's name, as the manifest keeps it."""
        return {name: getattr(kind, "name", repr(kind)) for name, kind in self.items()}


IMAGE_CSV_SCHEMA = Schema({"split": SplitKey, "image_uri": ImageUri, "label": StringLabel})
"""TFRecorder's Image CSV: which split, where the photo is, what it shows."""
