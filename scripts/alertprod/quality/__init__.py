"""Quality: what a visit and a night were like, in numbers, words and pictures."""

from alertprod.quality.files import write_json
from alertprod.quality.night import summarize_night
from alertprod.quality.page import show_night
from alertprod.quality.visit import measure_visit

__all__ = ["measure_visit", "show_night", "summarize_night", "write_json"]
