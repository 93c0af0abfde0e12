"""Detect, measure and score sources on a difference image."""

from alertprod.sources.measure import measure_sources

__all__ = ["measure_sources"]
