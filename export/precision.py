"""Which precisions an engine may have; what they mean is in :mod:`export.products`."""

from __future__ import annotations

from typing import Literal, get_args

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)  #: finest first
