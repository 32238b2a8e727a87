"""Rows of Parquet files, by the package pyarrow: asked for only where published files are prepared."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from laptime.errors import DataProblem, UserError
from laptime.suite.llama2_70b_lora.columns import AGAIN, COLUMNS, Rows

TOGETHER = 16  # rows read at a time


class RecordBatch(Protocol):
    """pyarrow's, as far as it is used."""

    def to_pydict(self) -> Mapping[str, Sequence[Sequence[int]]]: ...


class Table(Protocol):
    """pyarrow's ParquetFile, as far as it is used."""

    def iter_batches(self, batch_size: int, columns: Sequence[str]) -> Iterator[RecordBatch]: ...


def parquet_rows(paths: Sequence[Path], where: Path) -> Iterator[Rows]:
    """The rows of files, one after another. Raises DataProblem where there is none or one is damaged, and UserError
    without pyarrow, before any is read."""
    if not paths:
        raise DataProblem(f"expected files {where}-00000-of-00001.parquet, found none", hint=AGAIN)
    tables = [(path, opened(path)) for path in paths]
    return (rows for path, table in tables for rows in rows_of(table, path))


def opened(path: Path) -> Table:
    """Raises UserError without pyarrow, DataProblem for what is no Parquet file."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UserError(f"expected the package pyarrow to read {path}, found none",
                        hint="It is the extra parquet: pip install 'laptime[parquet]'") from None
    try:
        file: Table = ParquetFile(path)
    except (OSError, ArrowException) as error:
        raise DataProblem(f"expected a Parquet file at {path}, found other ({_first_line(error)})",
                          hint=AGAIN) from None
    return file


def rows_of(table: Table, path: Path) -> Iterator[Rows]:
    """Some rows at a time. Raises DataProblem for a file whose content is damaged or of another kind."""
    batches = table.iter_batches(batch_size=TOGETHER, columns=COLUMNS)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            rows = batch.to_pydict()
        except (OSError, ValueError, TypeError, KeyError) as error:  # pyarrow's own errors are kinds of these
            raise DataProblem(f"{path} cannot be read: {_first_line(error)}", hint=AGAIN) from None
        yield rows


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
