"""Tables of pandas and labelled arrays of xarray, as their arrays and labels."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elisa.runtime.checkpoint.codec import Decoder, Encoder

__all__ = ["decode", "encode"]


def encode(value: Any, encoder: Encoder, where: str) -> dict[str, Any] | None:  # noqa: ANN401  (what a package has)
    """Return the node of a DataFrame, Series or Index of pandas, or of a Dataset or DataArray of xarray."""
    parts = _parts(value)
    if parts is None:
        return None
    return {"$": f"labelled.{type(value).__name__}", "v": encoder.encode(parts, where)}


def _parts(value: Any) -> dict[str, Any] | None:  # noqa: ANN401  (as above)
    pandas, xarray = sys.modules.get("pandas"), sys.modules.get("xarray")
    if pandas is not None and type(value) is pandas.DataFrame:
        columns = [_values(value.iloc[:, number]) for number in range(value.shape[1])]
        return {"columns": columns, "names": value.columns, "index": value.index}
    if pandas is not None and type(value) is pandas.Series:
        return {"values": _values(value), "index": value.index, "name": value.name}
    if pandas is not None and type(value) in {pandas.Index, pandas.RangeIndex, pandas.DatetimeIndex}:
        return {"values": _values(value), "name": value.name}
    if xarray is not None and type(value) in {xarray.Dataset, xarray.DataArray}:
        return dict(value.to_dict(data="array", encoding=False))
    return None


def _values(column: Any) -> dict[str, Any]:  # noqa: ANN401  (as above)
    values = column.to_numpy()
    return {"values": list(values) if values.dtype == object else values, "dtype": str(column.dtype)}


def decode(node: dict[str, Any], decoder: Decoder) -> Any:  # noqa: ANN401  (whatever was saved)
    """Return the table or the labelled array."""
    kind, parts = node["$"].partition(".")[2], decoder.decode(node["v"])
    if kind in {"Dataset", "DataArray"}:
        return getattr(import_module("xarray"), kind).from_dict(parts)
    pandas = import_module("pandas")
    if kind == "DataFrame":
        columns = {number: _series(column, parts["index"]) for number, column in enumerate(parts["columns"])}
        frame = pandas.DataFrame(columns, index=parts["index"])
        frame.columns = parts["names"]
        return frame
    if kind == "Series":
        return _series(parts["values"], parts["index"]).rename(parts["name"])
    index = pandas.Index(parts["values"]["values"], dtype=parts["values"]["dtype"], name=parts["name"])
    return pandas.RangeIndex(*_bounds(index), name=parts["name"]) if kind == "RangeIndex" else index


def _series(column: dict[str, Any], index: Any) -> Any:  # noqa: ANN401  (pandas is optional)
    return import_module("pandas").Series(column["values"], index=index, dtype=column["dtype"])


def _bounds(index: Any) -> tuple[int, int, int]:  # noqa: ANN401  (as above)
    if len(index) == 0:
        return 0, 0, 1
    step = int(index[1] - index[0]) if len(index) > 1 else 1
    return int(index[0]), int(index[-1]) + step, step
